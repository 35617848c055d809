"""Takes the pictures in docs/pictures: two studies' runs in MLflow's page and the report of one, in Chromium.

    PYTHONPATH=tests python docs/screenshots.py FOLDER

The studies are run in FOLDER first, which takes minutes, unless a former call has left them there. Needs Chromium and
chromedriver on the path. All is on this machine: a page that asks for anything elsewhere is an error.
"""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chromium import asked_for, chromium, opened
from mlflow.tracking import MlflowClient
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from auxtune.orchestrator.tracking.store import link_comparison, link_run, link_runs

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
STUDIES = {
    "quickstart-at-random": ("study=quickstart-at-random", "selector=random_subset"),
    "quickstart": (
        "selector={name: thompson, rounds: 100, round_steps: 10, seeds: 2}",
        "confirm.leave_one_out=true",
        "budget.trials=46",
    ),
}
SHARES = [f"weight/{task}" for task in ("tint", "stars", "rival", "river", "pace", "slang")]
COLUMNS = ["metrics.`score`", "tags.`auxtune.phase`", *(f"params.`{share}`" for share in SHARES)]
AUXTUNE = [sys.executable, "-m", "auxtune.orchestrator"]
MARGIN = 24  # pixels around a part of a page
RUN_NAME = "data-component-id*=runnamecellrenderer"
MENU = ".du-bois-light-select-dropdown:not(.du-bois-light-select-dropdown-hidden)"


class Camera:
    """A browser, and what it asked for that is not on this machine."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.elsewhere: set[str] = set()
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})

    def open(self, url: str, shows: str, size: tuple[int, int] = (1280, 800), scheme: str = "light") -> None:
        """Go to a page and wait until something on it matches the selector ``shows``."""
        self.browser.get("about:blank")  # MLflow's addresses differ behind # only: so it is loaded anew
        opened(self.browser, url, *size, scheme)
        self.wait(shows)

    def wait(self, shows: str, least: int = 1) -> list[Any]:
        """What matches, once there are ``least`` of it."""

        def there(browser: Any) -> list[Any]:
            found: list[Any] = browser.find_elements(By.CSS_SELECTOR, shows)
            return found if len(found) >= least else []

        found: list[Any] = WebDriverWait(self.browser, 60).until(there)
        return found

    def shot(self, part: str | None = None) -> Image.Image:
        """What is in the window once it is at rest, or the ``part`` of the page that matches, with a margin."""
        time.sleep(2)  # drawings are still moving to their places
        places = {url: urlsplit(url) for url in asked_for(self.browser)}
        self.elsewhere |= {u for u, p in places.items() if p.scheme in ("http", "https") and p.hostname != "127.0.0.1"}
        wanted: dict[str, Any] = {}
        if part is not None:
            box = self.wait(part)[0].rect
            place = {"x": box["x"] - MARGIN, "y": box["y"], "scale": 1}
            size = {"width": box["width"] + 2 * MARGIN, "height": box["height"] + MARGIN}
            wanted = {"captureBeyondViewport": True, "clip": {**place, **size}}
        png = base64.b64decode(self.browser.execute_cdp_cmd("Page.captureScreenshot", wanted)["data"])
        return Image.open(io.BytesIO(png)).convert("RGB")


def save(picture: Image.Image, name: str) -> None:
    """Write a picture, and say how large it is."""
    path = PICTURES / f"{name}.png"
    picture.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


def run_studies(home: Path) -> None:
    """Run both studies of the quickstart's question in ``home``, or go on with them; finished ones answer at once."""
    home.mkdir(parents=True, exist_ok=True)
    for changes in STUDIES.values():
        changed = [word for change in changes for word in ("--set", change)]
        subprocess.run([*AUXTUNE, "run", str(ROOT / "examples" / "quickstart.yaml"), *changed], cwd=home, check=True)


@contextmanager
def mlflow_page(folder: Path) -> Iterator[tuple[str, str]]:
    """``auxtune ui`` of a study: where its server answers, and the experiment's id."""
    command = [*AUXTUNE, "ui", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            link = urlsplit(server.stdout.readline().strip())
            yield f"{link.scheme}://{link.netloc}", link.fragment.split("/")[2]
        finally:
            server.send_signal(signal.SIGINT)


def as_after_a_while(camera: Camera, experiment: str) -> None:
    """Have MLflow's page look as to somebody who has closed its assistant, chosen columns and points at no chart."""
    table = f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState'
    remembered = {
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
        "mlflow.assistant.panelOpen_v1": "false",
        table: json.dumps({"selectedColumns": COLUMNS}),
    }
    script = "".join(f"localStorage.setItem({json.dumps(k)}, {json.dumps(v)});" for k, v in remembered.items())
    unpointed = (
        "document.addEventListener('DOMContentLoaded', () => { const style = document.createElement('style');"
        "style.textContent = '.modebar-container { display: none }'; document.head.append(style) })"
    )
    camera.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"{script}{unpointed}"})


def choose(camera: Camera, field: Any, names: Sequence[str]) -> None:
    """Choose several in one of the compare page's lists, which holds only those of its lines that are in sight."""
    field.find_element(By.CSS_SELECTOR, ".du-bois-light-select-selector").click()
    [lines] = camera.wait(f"{MENU} .rc-virtual-list-holder")
    for name in names:
        for top in range(0, lines.get_property("scrollHeight"), 150):
            camera.browser.execute_script("arguments[0].scrollTop = arguments[1]", lines, top)
            time.sleep(0.2)
            if found := lines.find_elements(By.CSS_SELECTOR, f'[title="{name}"]'):
                camera.browser.execute_script("arguments[0].click()", found[0])
                break
        else:
            sys.exit(f"MLflow's compare page does not offer {name}")
    camera.browser.find_element(By.CSS_SELECTOR, "h1, h2").click()


def take_mlflow(camera: Camera, base: str, experiment: str, client: MlflowClient) -> None:
    """The runs, the same by score, charts, several compared, and the page of a study."""

    def ids(study: str, **tags: str) -> list[str]:
        rule = " and ".join(f"tags.`auxtune.{key}` = '{value}'" for key, value in {"study": study, **tags}.items())
        return [run.info.run_id for run in client.search_runs([experiment], rule)]

    def open_wide(url: str, shows: str, height: int = 800) -> None:
        camera.open(url, shows, (1280, height))
        camera.wait("[aria-label='Toggle sidebar']")[0].click()

    runs, row, fold = link_runs(base, experiment), ".ag-pinned-left-cols-container .ag-row", f"button[{RUN_NAME}]"
    open_wide(runs, row)
    camera.wait(fold, least=len(STUDIES))[0].click()
    camera.wait(row, least=10)
    save(camera.shot(), "mlflow-runs")

    open_wide(f"{runs}&orderByKey=metrics.%60score%60&orderByAsc=false", row)
    save(camera.shot(), "mlflow-by-score")

    open_wide(f"{runs}&compareRunsMode=CHART", ".js-plotly-plot", 1080)
    camera.wait(fold, least=len(STUDIES))[0].click()
    camera.wait("input[placeholder='Search metric charts']")[0].send_keys("selection/mood|best_score")
    save(camera.shot(), "mlflow-charts")

    compared = ids("quickstart-at-random", phase="search")
    open_wide(link_comparison(base, experiment, compared), ".js-plotly-plot")
    camera.browser.find_element(By.XPATH, "//button[.='Clear All']").click()
    parameters, metrics = camera.browser.find_elements(By.CSS_SELECTOR, ".du-bois-light-select")[:2]
    choose(camera, parameters, SHARES)
    choose(camera, metrics, ["score"])
    save(camera.shot().crop((0, 0, 1280, 640)), "mlflow-compare")

    [study] = ids("quickstart", role="study")
    open_wide(link_run(base, experiment, study), "[role=table]", 1000)
    camera.browser.find_element(By.XPATH, "//button[.='Show more']").click()
    save(camera.shot().crop((0, 0, 1280, 928)), "mlflow-study")  # below it are folders of this machine


def take_report(camera: Camera, report: Path) -> None:
    """The report's top, how the selector got there, the same in the dark, and both on a phone."""
    url = report.as_uri()
    camera.open(url, "#lift svg", (960, 1220))
    save(camera.shot(), "report")
    save(camera.shot("#search"), "report-search")
    camera.open(url, "#search svg", (960, 1220), "dark")
    save(camera.shot("#trials"), "report-dark")
    phones = []
    for scheme in ("light", "dark"):
        camera.open(url, "#lift svg", (390, 844), scheme)
        phones.append(camera.shot())
    both = Image.new("RGB", (2 * 390 + 40, 844), "white")
    for place, phone in enumerate(phones):
        both.paste(phone, (place * 430, 0))
    save(both, "report-phone")


def main() -> None:
    """Run the studies, show them, take the pictures."""
    if len(sys.argv) != 2:
        sys.exit("expected the folder in which the two studies are, or are to be run")
    home = Path(sys.argv[1]).resolve()
    run_studies(home)
    studies = home / "studies"
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
        camera = Camera(browser)
        take_report(camera, studies / "quickstart" / "report.html")
        with mlflow_page(studies / "quickstart") as (base, experiment):
            as_after_a_while(camera, experiment)
            take_mlflow(camera, base, experiment, MlflowClient(base))
    if camera.elsewhere:
        sys.exit(f"asked for elsewhere: {', '.join(sorted(camera.elsewhere))}")


if __name__ == "__main__":
    main()
