"""Studies of an encoder and tasks from the hub: the real libraries against a hub on loopback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from loopback_hub import LoopbackHub, Repository
from small_study import StudyRun
from transformers import BertConfig, BertModel, BertTokenizerFast

from auxtune.orchestrator.record.events import Opened
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import locate_attempt

pytestmark = pytest.mark.slow

WORDS = [f"w{i}" for i in range(60)]
STUDY = """\
study: small
primary: moods
tasks:
  moods: {hub: org/rows, config: moods, revision: v1, text: [sentence], label: label}
  echoes: {hub: org/rows, config: echoes, text: [sentence], label: label}
model: {name: org/bert, max_length: 16, pooling: mean}
training: {steps: 20, batch_size: 16, learning_rate: 1.0e-3, evaluate_every: 10}
selector: {name: random_subset, trials: 1}
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 4}
resources: {cpus: 1, gpus: 0, concurrent: 1}
seed: 3
"""
CARD = (
    "---\nconfigs:\n"
    + "".join(
        f"- config_name: {name}\n  data_files:\n"
        + "".join(f"  - {{split: {split}, path: {name}/{split}-*.parquet}}\n" for split in ("train", "validation"))
        for name in ("moods", "echoes")
    )
    + "---\n"
)
CLOUDS = {"169.254.169.254", "metadata.google.internal"}
LOAD = """\
import sys
from pathlib import Path
from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.session.prepare import load_study_data
from auxtune.orchestrator.study_file.reading import read_study
for path in sys.argv[1:]:
    try:
        tasks, base = load_study_data(read_study(Path(path)))
        print(*[note for task in tasks.values() for note in task.notes], sep="\\n")
    except StudyDataError as error:
        print(error)
"""


def encoder_files(folder: Path) -> dict[str, bytes]:
    """A random BERT of two layers, with its tokenizer."""
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=65,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def parquet(seed: int, rows: int) -> bytes:
    """Sentences of seven words; the label says whether those of the first half are in the majority."""
    chosen = np.random.default_rng(seed).integers(60, size=(rows, 7))
    columns = {
        "sentence": [" ".join(WORDS[i] for i in row) for row in chosen],
        "label": [int((row < 30).sum() > 3) for row in chosen],
    }
    written = io.BytesIO()
    Dataset.from_dict(columns).cast_column("label", ClassLabel(names=["bad", "good"])).to_parquet(written)
    return written.getvalue()


def dataset_files(seed: int) -> dict[str, bytes]:
    parts = {"train": 900, "validation": 250}
    return {"README.md": CARD.encode()} | {
        f"{name}/{part}-00000-of-00001.parquet": parquet(seed + number, rows)
        for number, (name, part, rows) in enumerate((n, p, r) for n in ("moods", "echoes") for p, r in parts.items())
    }


@pytest.fixture
def hub(tmp_path: Path) -> LoopbackHub:
    """``org/bert``, and ``org/rows`` in two commits: the tag v1, and main with other rows."""
    hub = LoopbackHub()
    (tmp_path / "bert").mkdir()
    bert = hub.repositories["org/bert"] = Repository()
    bert.commit(encoder_files(tmp_path / "bert"))
    rows = hub.repositories["datasets/org/rows"] = Repository()
    rows.commit(dataset_files(0), tag="v1")
    rows.commit(dataset_files(10))
    return hub


@pytest.fixture
def studies(tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[StudyRun]:
    """A study of what the hub has, while it answers."""
    (tmp_path / "study.yaml").write_text(STUDY)
    hub.open()
    for name, value in hub.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    yield StudyRun(tmp_path)
    hub.close()


def said_of(home: Path, **studies: str) -> str:
    """What loading the data of each study comes to, all in one process."""
    for name, text in studies.items():
        (home / f"{name}.yaml").write_text(text)
    command = [sys.executable, "-c", LOAD, *(f"{name}.yaml" for name in studies)]
    return subprocess.run(command, cwd=home, env=os.environ, capture_output=True, text=True, check=True).stdout


def process_of(run: StudyRun, *arguments: str) -> tuple[int, str]:
    """The number of a process that has done ``auxtune ARGUMENTS``, and what it said."""
    process = run.start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return process.pid, out


def test_a_study_of_the_hub_asks_it_from_its_driver_alone_and_runs_again_without_it(
    studies: StudyRun, hub: LoopbackHub
) -> None:
    names = hub.repositories["datasets/org/rows"].names
    driver, out = process_of(studies, "run", "study.yaml")
    # Beside the endpoint, the libraries look for a server of datasets' own; Ray, whether this is a cloud's machine.
    own = {hub.host, hub.elsewhere, f"datasets-server.{hub.host}"}
    assert {request.process for request in hub.requests if request.host in own} == {driver}
    assert {request.host for request in hub.requests} - own <= CLOUDS
    trials = studies.accounts.trials
    assert {trial.status for trial in trials.values()} == {"finished"} and len(trials) == 3
    workers = {int((locate_attempt(studies.folder, one, 1) / "alive").read_text().split()[0]) for one in trials}
    assert driver not in workers

    _, out = process_of(studies, "validate", "study.yaml")
    assert f"moods: org/rows/moods is of the commit {names['v1']}" in out
    assert f"echoes: org/rows/echoes is of the commit {names['main']}" in out

    hub.close()
    before = len(hub.requests)
    process_of(studies, "run", "study.yaml", "--set", "study=again")
    assert len(hub.requests) == before
    opened = [
        next(event for event in read_events(studies.home / "studies" / name / "ledger") if isinstance(event, Opened))
        for name in ("small", "again")
    ]
    keys = ("tasks.moods", "tasks.echoes", "model")
    assert [opened[0].fingerprint[key] for key in keys] == [opened[1].fingerprint[key] for key in keys]
    assert "revision: v1" in opened[1].study


def test_what_the_hub_refuses_is_said_with_its_line_and_what_to_do(studies: StudyRun, hub: LoopbackHub) -> None:
    hub.repositories |= {
        "datasets/org/asks": Repository(gated=401),
        "datasets/org/forbids": Repository(gated=403),
        "org/asks": Repository(gated=401),
        "datasets/org/scripted": Repository(),
        "org/own": Repository(),
    }
    hub.repositories["datasets/org/scripted"].commit({"README.md": b"rows", "scripted.py": b"raise SystemExit(9)"})
    own = b'{"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}'
    hub.repositories["org/own"].commit({"config.json": own, "own.py": b"raise SystemExit(9)"})
    moods = "hub: org/rows, config: moods, revision: v1"
    wrong = {
        "absent": (moods, "hub: org/absent", "tasks.moods", "a private one needs a token"),
        "asks": (moods, "hub: org/asks", "tasks.moods", "put your token into HF_TOKEN"),
        "forbids": (moods, "hub: org/forbids", "tasks.moods", "put your token into HF_TOKEN"),
        "scripted": (moods, "hub: org/scripted", "tasks.moods", "it needs code of its own, which is not run"),
        "revision": ("v1", "v9", "tasks.moods", "Revision 'v9' doesn't exist"),
        "config": ("config: moods", "config: mods", "tasks.moods", "Available: ['moods', 'echoes']"),
        "encoder": ("org/bert", "org/absent", "model.name", "a private one needs a token"),
        "gate": ("org/bert", "org/asks", "model.name", "put your token into HF_TOKEN"),
        "code": ("org/bert", "org/own", "model.name", "it brings code of its own, which is not run"),
    }
    texts = {name: STUDY.replace(right, bad) for name, (right, bad, _, _) in wrong.items()}
    said = said_of(studies.home, **texts).splitlines()
    assert len(said) == len(wrong)
    for line, (name, (_, _, key, remedy)) in zip(said, wrong.items(), strict=True):
        assert line.startswith(f"{name}.yaml:{4 if key == 'tasks.moods' else 6}: {key}: "), line
        assert remedy in line, line
    assert not any("own.py" in request.path for request in hub.requests)


def test_without_the_hub_its_cache_serves_but_never_another_revision(studies: StudyRun, hub: LoopbackHub) -> None:
    names, latest = hub.repositories["datasets/org/rows"].names, STUDY.replace("revision: v1", "revision: main")
    plain = STUDY.replace(", revision: v1", "")
    assert f"moods is of the commit {names['v1']}" in said_of(studies.home, tagged=STUDY)
    hub.close()
    # At once, where the libraries would try again for half a minute; so this also tells what was waited for.
    assert f"moods is of the commit {names['v1']}" in said_of(studies.home, tagged=STUDY, plain=plain)
    new = said_of(studies.home, new=STUDY.replace("org/rows, config: moods, revision: v1", "org/new"), latest=latest)
    assert "new.yaml:4: tasks.moods: org/new: cannot be loaded: " in new
    assert f"the hub at http://{hub.host} does not answer, and this is not in the cache in" in new
    assert f"latest.yaml:4: tasks.moods: org/rows: the hub at http://{hub.host} does not answer" in new
    assert f"the copy in the cache is of the commit {names['v1']}, not of the revision main" in new
