"""Input that no one would write, drawn at random: each reader reads it or refuses it in its own words, in seconds.

A reader that lets another exception through would show its user a traceback. `make fuzz` draws 10,000 inputs in place
of the few here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_study import simulated
from small_study import STUDY, write_task

from auxtune.orchestrator.answer.answer import read_answer
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.record.driver import find_active_driver
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import DamagedResultError, read_result
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.paths import locate_study
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.tables.reading import read_recorded, read_transfers
from auxtune.orchestrator.tables.runs import read_runs
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.errors import DataError

READERS = 9  # tests below that draw
drawn = settings(
    max_examples=int(os.environ.get("AUXTUNE_FUZZ", 25 * READERS)) // READERS,
    deadline=timedelta(seconds=5),
    derandomize="AUXTUNE_FUZZ" not in os.environ,  # a contributor's run does not fail for what another's would
    suppress_health_check=list(HealthCheck),
    database=None,
)
ODD = (
    *"\0\ufeff\u202e\ud7ffé\r\n\t \"'`[]{},:#?|>%$~=+-/\\0",
    *(": ", "- ", "&a ", "*a", "<<: *a", "!!python/object/apply:os.getcwd []", "!!set", "!!binary x", "2026-02-30"),
    *("${", "${HOME}", "$${", "null", "true", "nan", "NaN", ".nan", "Infinity", "-.inf", "1e999", "-1", "-0.0"),
    *("1_0", "0x1f", "9" * 400, "../", "..", "/dev/null"),
)


@st.composite
def odd_edits(draw: st.DrawFn, text: str) -> str:
    """``text`` with parts of it cut, doubled, exchanged and replaced by what readers trip over."""
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(text)))
        last = min(len(text), first + draw(st.integers(0, 12)))
        snippet = draw(st.one_of(st.sampled_from(ODD), st.text(max_size=6), st.just(text[first:last] * 2)))
        text = text[:first] + snippet + text[last:]
    return text


def odd_values() -> st.SearchStrategy[Any]:
    """What YAML and JSON can hold, where something else is expected."""
    scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(ODD))
    keys = st.one_of(st.text(max_size=5), st.sampled_from(("name", "path", "trials", "steps", "csv", "a")))
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
        max_leaves=6,
    )


@contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """Let a reader refuse in its own words, and nothing else; its message must be one that can be printed."""
    try:
        yield
    except kinds as error:
        assert str(error).strip()
        str(error).encode("utf-8")


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    study = simulated(tmp_path_factory.mktemp("fuzz"), "{name: random_subset, trials: 3}")
    return study.finish(study.session())


@contextmanager
def edited(folder: Path, name: str, draw: Callable[[str], str]) -> Iterator[Path]:
    """A copy of ``folder`` whose file ``name`` is drawn anew from its text."""
    with TemporaryDirectory() as home:
        copy = Path(home, folder.name)
        shutil.copytree(folder, copy)
        file = copy / name
        file.write_text(draw(file.read_text(encoding="utf-8")), encoding="utf-8", errors="surrogatepass", newline="")
        yield copy


@drawn
@given(text=st.one_of(odd_edits(STUDY), st.text(max_size=200)))
def test_the_text_of_a_study_file(text: str) -> None:
    with refusing(AuxtuneError):
        parse_study(text, "study.yaml", Path("/nowhere"))


@drawn
@given(key=st.sampled_from(sorted(StudyOptions.model_fields)), value=odd_values())
def test_the_values_of_a_study_file(key: str, value: Any) -> None:
    text = yaml.safe_dump({**yaml.safe_load(STUDY), key: value}, allow_unicode=True)
    with refusing(AuxtuneError):
        parse_study(text, "study.yaml", Path("/nowhere"))


@drawn
@given(override=st.one_of(odd_edits("training.steps=200"), odd_edits("tasks.moods={path: a}"), st.text(max_size=30)))
def test_an_override(override: str) -> None:
    with refusing(AuxtuneError):
        parse_study(STUDY, "study.yaml", Path("/nowhere"), [override])


@drawn
@given(name=st.one_of(st.text(max_size=20), odd_edits("a/b"), st.just("x" * 400)))
def test_a_name_never_becomes_a_path_elsewhere(name: str) -> None:
    text = yaml.safe_dump({**yaml.safe_load(STUDY), "study": name, "storage": "/storage"}, allow_unicode=True)
    with refusing(AuxtuneError):
        assert locate_study(parse_study(text, "study.yaml", Path("/nowhere"))).parent == Path("/storage")


@drawn
@given(data=st.data())
def test_the_files_of_a_study(data: st.DataObject, simulation: Path) -> None:
    names = sorted(
        file.relative_to(simulation).as_posix() for file in simulation.rglob("*.json") if file.stat().st_size < 100_000
    )
    name = data.draw(st.sampled_from(names))
    with edited(simulation, name, lambda text: data.draw(odd_edits(text))) as folder:
        (folder / "heartbeat.json").write_text(data.draw(odd_edits('{"pid": 1, "host": "a"}')))
        with refusing(AuxtuneError):
            read_events(folder / "ledger")
        with refusing(AuxtuneError):
            read_answer(folder)
        with refusing(AuxtuneError):
            find_active_driver(folder)
        for attempt in sorted(folder.glob("trials/*/1")):
            with refusing(DamagedResultError):
                read_result(attempt)


@drawn
@given(data=st.data())
def test_a_recorded_table(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("table")
    kind = data.draw(st.sampled_from(sorted(TABLES)))
    header, rows = TABLES[kind]
    (folder / "table.json").write_text(json.dumps({**header, "format": 1, "kind": kind, "metric": "m", "mode": "max"}))
    (folder / "rows.csv").write_text(rows)
    name = data.draw(st.sampled_from(["table.json", "rows.csv"]))
    with edited(folder, name, lambda text: data.draw(odd_edits(text))) as copy, refusing(AuxtuneError):
        (read_transfers if kind == "transfer" else read_recorded)(copy)


@drawn
@given(text=odd_edits("w:a,w:b,y:s,seconds\n0.5,0.5,1,3\n0.2,0.8,2,4\n1,0,,5\n"))
def test_runs_made_elsewhere(text: str) -> None:
    with TemporaryDirectory() as home:
        path = Path(home, "runs.csv")
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        with refusing(AuxtuneError):
            read_runs(path)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a task of few rows."""
    folder = tmp_path_factory.mktemp("task") / "moods"
    write_task(folder, 2, rows=20)
    for part in ("train", "validation"):
        lines = (folder / f"{part}.jsonl").read_text().splitlines()[:20]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@drawn
@given(data=st.data())
def test_a_folder_of_a_task(data: st.DataObject, task: Path) -> None:
    name = data.draw(st.sampled_from(["meta.json", "train.jsonl", "validation.jsonl"]))
    with edited(task, name, lambda text: data.draw(odd_edits(text))) as folder, refusing(DataError):
        load_tasks([TaskSource(name="moods", path=folder)])


@drawn
@given(data=st.data(), form=st.sampled_from(["csv", "tsv", "jsonl"]))
def test_a_file_of_a_task(data: st.DataObject, form: str) -> None:
    rows = [{"text": f"words {number}", "label": "ab"[number % 2]} for number in range(30)]
    separator = {"csv": ",", "tsv": "\t"}.get(form)
    lines = [json.dumps(row) for row in rows] if separator is None else ["text" + separator + "label"]
    lines += [separator.join(row.values()) for row in rows] if separator is not None else []
    text = data.draw(odd_edits("\n".join(lines) + "\n"))
    with TemporaryDirectory() as home:
        path = Path(home, f"rows.{form}")
        with suppress(UnicodeEncodeError):
            path.write_text(text, encoding="utf-8", newline="")
            with refusing(DataError):
                load_tasks([TaskSource(name="t", path=path, text=("text",), label="label")])


TABLES: dict[str, tuple[dict[str, Any], str]] = {
    "groups": (
        {"tasks": ["a", "b"]},
        "tasks,target,split,value,cost,seed,seconds\na,a,validation,0.7,1,0,3\na+b,a,validation,0.8,1,0,4\n",
    ),
    "mixtures": ({"tasks": ["a", "b"], "targets": ["s"]}, "w:a,w:b,y:s,seed\n0.5,0.5,1,0\n0.2,0.8,2,0\n1,0,3,0\n"),
    "transfer": ({"tasks": ["a", "b"]}, "source,target,split,value,seed\na,b,validation,0.5,0\nb,a,validation,0.7,0\n"),
}
