"""The shape of the product in numbers: ``python tools/house.py [--run] [--json]``.

Static: modules, their lines, which imports which, how functions are named, how much is commented. With ``--run`` also
how many modules `auxtune --help` and `auxtune plan` load, and which of the product's files take part between
`auxtune run` and the first training step, in the driver and in the worker.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("orchestrator", "trials", "selectors")
SMALL, LARGE = 40, 400  # lines: a file that small could be part of another one, and the most that a file may have
_VERBS = """
accept accumulate acquire add align allocate allow allot announce append apply arrange ask assert assign attach await
back balance begin bind bound break build bundle cache calculate call cancel cap capture cast catch center chain
change charge check choose clamp clean clear click clip clone close cluster collate collect combine compare complete
compose compress compute concatenate configure confirm connect consume contain continue convert copy correct count
cover create cut deal decay decide declare decode define defer delete deliver derive describe detach detect determine
diagnose digest discard discount discover divide download draw drop dump emit enable encode end enforce enqueue ensure
enter enumerate escape estimate evaluate examine exclude execute exit expand expect explain explore export expose
extend extract fall fail fetch fill filter finalise find finish fit fix flatten flush fold follow forecast forget form
format free freeze gather generate give go grade group grow guard guess halve hash hold hide identify ignore import
impute include increment index indicate infer inherit initialise inject insert inspect install instantiate interpolate
interrupt invert iterate join judge jump keep kill label launch lay learn leave lengthen let level limit link list
listen load locate lock log look loop lower mark mask match materialise measure merge mix model modify mount move name
narrow normalise note notice number obey observe offer omit open optimise order overlay override pack pad pair parse
partition pass patch pause penalise permute pick place plan plot point poll pool pop post predict prefer prepare
present preserve price print probe produce project promise propose prove provide prune publish pull push put
quarantine query quote raise randomise rank reach read rebuild recall receive recommend reconcile record recover
redirect reduce refit refold refresh refuse regress register reject relay release remain remember remove rename render
reopen repeat replace replay reply report represent request require requeue resample reserve reset reshape resize
resolve respond restart restore restrict resume retain retry return reuse reverse review reweight rewrite rotate round
run sample save say scale scan schedule score search see seed select send separate serve set settle share shift
shorten show shrink shuffle shut sign silence simplify simulate sketch skip slice smooth solve sort spawn spell split
spread start state steer step stop store stream strip submit subtract suggest sum summarise supply suppose survive
suspend swap switch take tell tend test tie tokenise touch trace track train transfer transform translate traverse
treat trim truncate try tune turn type undo unfold unite unpack update upload use validate verify visit vote wait wake
walk warn wash watch weigh whiten widen withdraw wrap write yield zero is has can may must should
"""
VERBS = frozenset(_VERBS.split())


def read_modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the product."""
    files = (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))
    return {name_module(file): file for file in files if ".venv" not in file.parts}


def name_module(file: Path) -> str:
    """The name that a file of the product is imported by."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(("auxtune", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def count_importers(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module -> the other modules of the product that import it, in functions and under TYPE_CHECKING too."""
    importers: dict[str, set[str]] = defaultdict(set)
    for name, file in modules.items():
        for target in list_imports(ast.parse(file.read_text(encoding="utf-8"))):
            for candidate in (target, target.rpartition(".")[0]):
                if candidate in modules and candidate != name:
                    importers[candidate].add(name)
                    break
    return importers


def list_imports(tree: ast.AST) -> Iterator[str]:
    """Every name that a module imports from the product, dotted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("auxtune."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("auxtune"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("auxtune."):
            yield node.value.partition(":")[0]  # a registry's "module:Class"


def count_functions(trees: Mapping[str, ast.Module]) -> dict[str, Any]:
    """How module-level functions are named, and how long functions are."""
    named = [node.name for tree in trees.values() for node in tree.body if isinstance(node, ast.FunctionDef)]
    verbs = [name for name in named if name.lstrip("_").split("_")[0] in VERBS]
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {
        "module_level_functions": len(named),
        "verb_first_percent": round(100 * len(verbs) / len(named), 1),
        "function_lines_median": int(np.median(lengths)),
        "functions_of_40_lines_or_more": sum(length >= 40 for length in lengths),
    }


def count_comments(files: Mapping[str, Path]) -> float:
    """Comments per 100 lines."""
    comments = lines = 0
    for file in files.values():
        with file.open("rb") as source:
            comments += sum(token.type == tokenize.COMMENT for token in tokenize.tokenize(source.readline))
        lines += len(file.read_text(encoding="utf-8").splitlines())
    return round(100 * comments / lines, 1)


def measure_files() -> dict[str, Any]:
    """The numbers that need no run of the product."""
    files = read_modules()
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in files.items()}
    modules = {name: file for name, file in files.items() if file.name != "__init__.py"}
    sizes = np.array([lines[name] for name in modules])
    importers = count_importers(files)
    single = [name for name in modules if len(importers[name]) == 1]
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in files.items()}
    return {
        "lines": sum(lines.values()),
        "modules": len(modules),
        "lines_median": int(np.median(sizes)),
        "lines_p90": int(np.quantile(sizes, 0.9)),
        "lines_max": int(sizes.max()),
        "modules_with_one_importer": len(single),
        "small_modules_with_one_importer": sorted(name for name in single if lines[name] < SMALL),
        "modules_over_the_most": sorted(name for name in modules if lines[name] > LARGE),
        **count_functions(trees),
        "comments_per_100_lines": count_comments(files),
    }


STUDY = """study: house
primary: mood
tasks: {mood: {builtin: mood}, stars: {builtin: stars}}
model: {name: tiny, max_length: 16}
training: {steps: 2, batch_size: 4}
selector: random_subset
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 3}
tracking: {uri: "sqlite:///mlflow.db"}
"""

# When each file of the product was first called, by process, until the first training step of a trial. Only processes
# that import the product have a profile, which slows them down: Ray's own would start too slowly on a busy machine.
TRACER = """
import atexit, json, os, sys, threading, time
folder, seen = {folder!r}, {{}}
class Waiting:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "auxtune":
            sys.meta_path.remove(self)
            atexit.register(finish, None)
            threading.setprofile(note)
            sys.setprofile(note)
def is_import(caller):  # of a module whose functions may not be needed: its own top level, or who looks for names in it
    code = caller and caller.f_code
    return code and (code.co_name == "<module>" or code.co_filename.startswith("<frozen importlib"))
def note(frame, event, argument):
    if event != "call":
        return
    code, file = frame.f_code, frame.f_code.co_filename
    if file not in seen and file.startswith({homes!r}) and code.co_flags & 1 and not is_import(frame.f_back):
        seen[file] = time.time()
    if code.co_name == "advance" and file.endswith("trials/training.py"):
        threading.setprofile(None)
        sys.setprofile(None)
        atexit.unregister(finish)
        finish(time.time())
def finish(step):
    with open(os.path.join(folder, f"files-{{os.getpid()}}.json"), "w") as out:
        json.dump({{"files": seen, "step": step}}, out)
sys.meta_path.insert(0, Waiting())
"""


def count_loaded(arguments: list[str], folder: Path) -> int:
    """How many modules of the product a command loads in its own process."""
    code = (
        "import sys\nfrom auxtune.orchestrator.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sum(name.startswith('auxtune.') for name in sys.modules), file=sys.stderr)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return int(said.stderr.rpartition("LOADED")[2])


def measure_runs() -> dict[str, Any]:
    """How much commands load, and the files that take part before the first training step of a small study."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
        loaded = {
            "modules_loaded_by_help": count_loaded(["--help"], folder),
            "modules_loaded_by_plan": count_loaded(["plan", "study.yaml"], folder),
        }
        driver, worker = trace_first_step(folder)
    return {
        **loaded,
        "files_to_the_first_training_step": len(driver | worker),
        "files_of_the_driver": sorted(driver),
        "files_of_the_worker": sorted(worker - driver),
    }


def trace_first_step(folder: Path) -> tuple[set[str], set[str]]:
    """The files that take part from ``auxtune run`` to the first training step: the driver's, and its worker's."""
    site = folder / "site"
    site.mkdir()
    homes = tuple(f"{ROOT / home}{os.sep}" for home in FOLDERS)
    (site / "sitecustomize.py").write_text(TRACER.format(folder=str(folder), homes=homes), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "auxtune.orchestrator", "run", "study.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site), "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    traces = [json.loads(path.read_text()) for path in folder.glob("files-*.json")]
    first = min((trace for trace in traces if trace["step"]), key=lambda trace: float(trace["step"]))
    called = {"driver": set[str](), "worker": set[str]()}
    for trace in traces:
        if trace is first or not trace["step"]:  # other workers took their own first steps later
            files = (file for file, began in trace["files"].items() if began <= first["step"])
            called["worker" if trace is first else "driver"].update(str(Path(file).relative_to(ROOT)) for file in files)
    return called["driver"], called["worker"]


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="also run commands and a study of two steps")
    parser.add_argument("--json", action="store_true", help="print one object")
    arguments = parser.parse_args()
    found = measure_files() | (measure_runs() if arguments.run else {})
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            shown = ", ".join(value) or "none" if isinstance(value, list) else value
            print(f"{key.replace('_', ' '):40} {shown}")


if __name__ == "__main__":
    main()
