"""``auxtune export``: the selection trained by confirm's recipe, a folder whole or not at all, a card that is true."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from huggingface_hub import ModelCard
from saved_models import inputs_of, write_encoder, write_tasks
from small_study import StudyRun, small_study
from written_study import written_study

from auxtune.orchestrator import Study, cli
from auxtune.orchestrator.answer.lift import load_predictions
from auxtune.orchestrator.errors import AuxtuneError, DriftError, Locked, StudyDataError
from auxtune.orchestrator.export import exporter as exporting
from auxtune.orchestrator.export.exporter import ModelExporter, StagingFolder
from auxtune.orchestrator.export.model_spec import ModelSpec
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.driver import StopSignals
from auxtune.orchestrator.record.results import locate_attempt
from auxtune.orchestrator.session.prepare import load_study_data
from auxtune.orchestrator.study_file.paths import list_task_sources, resolve_model
from auxtune.orchestrator.study_file.reading import read_study
from auxtune.selectors.kit.kept_rows import digest_rows
from auxtune.selectors.protocol import Kept, Proposal
from auxtune.trials import load_model
from auxtune.trials.checkpoint import read_checkpoint
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.loaded_model import LoadedModel
from auxtune.trials.tokens import encode_tasks, keep_rows

pytestmark = pytest.mark.slow

# All kinds of tasks under a pretrained encoder; all are chosen, and nothing is compared.
ALL_KINDS = """\
study: small
primary: pair
tasks:
  single: {path: tasks/single.jsonl, text: [said], label: label}
  pair: {path: tasks/pair.jsonl, text: [a, b], label: label, metric: "accuracy, f1"}
  value: {path: tasks/value.jsonl, text: [said], label: label, kind: regression}
  tags: {path: tasks/tags.jsonl}
  sets: {path: tasks/sets.jsonl, text: [said], label: [low, high]}
model: {name: ./encoder, max_length: 16, alignment: covariance}
training: {steps: 30, batch_size: 8, learning_rate: 2.0e-3, evaluate_every: 10}
selector: all_tasks
confirm: {seeds: 1, controls: []}
budget: {trials: 4}
resources: {cpus: 1, gpus: 0, concurrent: 1}
"""
GROUPS = """\
study: small
objective: groups
models: 2
tasks:
  moods: {path: tasks/moods, rows: 200}
  echoes: {path: tasks/echoes}
  noises: {path: tasks/noises}
model: {name: tiny, max_length: 16}
training: {steps: 20, batch_size: 8, learning_rate: 1.0e-3, evaluate_every: 10}
selector: random_groups
confirm: {seeds: 1, controls: []}
budget: {trials: 4}
resources: {cpus: 1, gpus: 0, concurrent: 1}
"""


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def export(run: StudyRun, to: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["export", str(run.folder), "--to", str(to), *arguments])


def copy_of(run: StudyRun, home: Path) -> StudyRun:
    """The study elsewhere, data and all, to be spoilt; its ledger still names the first folder."""
    return StudyRun(shutil.copytree(run.home, home))


def test_with_the_seed_of_a_confirm_trial_it_is_that_trial_again(whole: StudyRun, tmp_path: Path) -> None:
    """Not a second training loop: the same weights, so the same predictions to the bit."""
    trial = whole.accounts.in_phase("confirm")[0]
    answer = json.loads((whole.folder / "selection.json").read_text())
    assert trial.proposal.weights == answer["weights"]
    before = digests(whole.folder)
    result = export(whole, tmp_path / "model", "--seed", str(trial.proposal.seed), "--json")
    assert result.exit_code == 0, result.output
    assert digests(whole.folder) == before, "an export stands outside its study"
    [made] = json.loads(result.stdout)["models"]
    assert made["folder"] == str(tmp_path / "model") and made["largest_difference"] == 0
    assert made["test"]["moods"] == dict(trial.told.test["moods"])
    theirs = load_predictions(locate_attempt(whole.folder, trial.id, 1) / "predictions.npz", "moods")
    task = load_tasks_of(whole)["moods"]
    ours = load_model(tmp_path / "model", "cpu").answers("moods", task.splits["test"])
    assert np.array_equal(ours.predictions, theirs.predictions) and np.array_equal(ours.labels, theirs.labels)
    assert len(np.unique(ours.predictions)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def load_tasks_of(run: StudyRun) -> dict[str, Any]:
    return load_tasks(list_task_sources(Study.from_folder(run.folder).file))


def test_the_study_s_own_seed_is_the_default_and_python_does_the_same(whole: StudyRun, tmp_path: Path) -> None:
    said: list[str] = []
    exported = Study.from_folder(whole.folder).export(tmp_path / "model", listener=said.append)
    [made] = exported.models
    assert made["seed"] == 3 and made["serves"] == ["moods"] and exported.folder == tmp_path / "model"
    assert any(re.fullmatch(r"step 40 of 40: score 0\.\d{4} on the validation split", line) for line in said)
    assert set(made["digests"]) == set(made["tasks"]) and made["drift"] == []
    assert made["cost"]["usd"] == pytest.approx(made["cost"]["cpu_seconds"] * 0.04 / 3600)
    again = export(whole, tmp_path / "model")
    assert again.exit_code == 2 and "found one that is not empty; choose another --to" in again.stderr


def test_a_control_becomes_a_model_too(whole: StudyRun, tmp_path: Path) -> None:
    result = export(whole, tmp_path / "model", "--arm", "single_task", "--json")
    exported = json.loads(result.stdout)
    [made] = exported["models"]
    assert (exported["arm"], made["arm"], exported["recommended"]) == ("single_task", "single_task", "selection")
    assert made["tasks"] == ["moods"] and made["weights"] == {"moods": 1.0}
    text = (tmp_path / "model" / "README.md").read_text()
    assert "This is the study's control `single_task`, **not the arm that the study recommends**" in text
    [trial] = [each for each in whole.accounts.in_phase("confirm") if each.proposal.tasks == ("moods",)]
    assert trial.told is not None
    ours, theirs = made["test"]["moods"]["accuracy"], trial.told.test["moods"]["accuracy"]
    assert f"accuracy {ours:.4f} | accuracy {theirs:.4f} |" in text  # one seed: the mean is its own
    assert list(load_model(tmp_path / "model").tasks) == ["moods"]
    unknown = export(whole, tmp_path / "other", "--arm", "all_tasks")
    assert unknown.exit_code == 2 and "selection, single_task; found all_tasks" in unknown.stderr


def test_the_card_says_what_is_known_elsewhere(whole: StudyRun, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()  # an empty folder is none
    result = export(whole, tmp_path / "model", "--json")
    [made] = json.loads(result.stdout)["models"]
    answer = json.loads((whole.folder / "selection.json").read_text())
    text = (tmp_path / "model" / "README.md").read_text()
    card = ModelCard(text).data
    assert (card.license, card.library_name, card.model_name) == ("unknown", "transformers", "model")
    reported = {(each.dataset_name, each.metric_type): each.metric_value for each in card.eval_results}
    assert reported == {(t, m): round(v, 6) for t, scores in made["test"].items() for m, v in scores.items()}
    ours, theirs = (scores["moods"]["accuracy"] for scores in (made["test"], answer["report"]))
    assert f"accuracy {ours:.4f} | accuracy {theirs:.4f}" in text
    for control, lift in answer["lift"].items():
        shown = "– | the same training" if lift["same_training"] else f"{lift['mean']:+.4f} accuracy | needs 3 seeds"
        assert f"| {control} | {shown} | 1 |" in text
    for task in made["tasks"]:
        assert f"| {task} | {answer['weights'][task]:.1%} | " in text
        assert f"`{made['digests'][task][:16]}` | unknown |" in text
    assert "every score was the same" in text and "`AutoTokenizer` has nothing to load here" in text
    assert str(whole.home) not in text, "a card is for others"


def test_every_kind_under_a_pretrained_encoder(tmp_path: Path) -> None:
    write_tasks(tmp_path / "tasks")
    write_encoder(tmp_path / "encoder", "bert")
    (tmp_path / "study.yaml").write_text(ALL_KINDS)
    run = StudyRun(tmp_path)
    run.finish()
    said = run.finish("export", "studies/small", "--to", "models/pair")
    assert "value (trained beside): spearman" in said and f"Model: {tmp_path / 'models' / 'pair'}" in said
    model, tasks = load_model(tmp_path / "models" / "pair", "cpu"), load_tasks_of(run)
    made = model.saved.about
    for name, task in tasks.items():
        answers = model.answers(name, task.splits["test"])
        assert answers.scores(task.metrics) == {metric: pytest.approx(v) for metric, v in made["test"][name].items()}
        assert len(list(model.predict(name, inputs_of(task)))) == len(task.splits["test"])
    text = (tmp_path / "models" / "pair" / "README.md").read_text()
    assert "transformers alone does not apply it, auxtune does" in text and "AutoTokenizer.from_pretrained(" in text
    rows = run.finish("predict", "models/pair", "--task", "pair", "tasks/pair.jsonl")
    assert len(rows.splitlines()) == 240
    # Both ways to use it, as the card shows them, beside the model.
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        command = [sys.executable, "-c", block]
        process = subprocess.run(command, cwd=tmp_path / "models", capture_output=True, text=True, timeout=120)
        assert process.returncode == 0, process.stderr


def test_each_group_that_serves_is_a_model(tmp_path: Path) -> None:
    run = small_study(tmp_path)
    (tmp_path / "study.yaml").write_text(GROUPS)
    run.finish()
    groups = json.loads((run.folder / "selection.json").read_text())["groups"]
    serving = {f"group-{n}": group for n, group in enumerate(groups, start=1) if group["serves"]}
    result = export(run, tmp_path / "models", "--json")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == sorted(serving)
    for name, group in serving.items():
        model = load_model(tmp_path / "models" / name, "cpu")
        assert list(model.tasks) == group["tasks"] and model.saved.about["serves"] == group["serves"]
    refused = CliRunner().invoke(cli.main, ["predict", str(tmp_path / "models"), "x.csv"])
    assert f"its models are in {', '.join(serving)}" in refused.stderr
    first = next(iter(serving))
    one = export(run, tmp_path / "one", "--group", first.removeprefix("group-"), "--json")
    assert one.exit_code == 0 and list(load_model(tmp_path / "one", "cpu").tasks) == serving[first]["tasks"]
    strange = export(run, tmp_path / "two", "--group", "9")
    assert strange.exit_code == 2 and "expected a group that serves a task, " in strange.stderr
    assert not (tmp_path / "two").exists()


LONG = ("--set", "training.steps=700", "--set", "training.evaluate_every=350", "--allow-drift")


def test_neither_ctrl_c_nor_a_kill_leaves_half_a_folder_and_the_same_command_goes_on(
    whole: StudyRun, tmp_path: Path
) -> None:
    arguments = ("export", str(whole.folder), "--to", str(tmp_path / "model"), *LONG)
    draft = tmp_path / ".model.export"
    steps = []
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = whole.start(*arguments)
        seen = (draft / "runs/model/checkpoint/checkpoint.safetensors").stat().st_mtime_ns if steps else 0
        file = draft / "runs/model/checkpoint/checkpoint.safetensors"
        whole.wait_for(lambda file=file, seen=seen: file.exists() and file.stat().st_mtime_ns != seen, process)
        if number == signal.SIGKILL:
            refused = export(whole, tmp_path / "model", *LONG)
            assert refused.exit_code == 4 and "another process exports there" in refused.stderr
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert not (tmp_path / "model").exists() and draft.is_dir()
        steps.append(out + err)
    assert "the same command resumes from there" in steps[0]
    said = whole.finish(*arguments)
    again = re.search(r"resumes from step (\d+) of an export that was interrupted", said)
    assert again is not None and int(again[1]) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    about = load_model(tmp_path / "model", "cpu").saved.about
    assert about["steps"] == 700 and about["drift"] == ["training"]
    assert "**Changed since the study:** training." in (tmp_path / "model" / "README.md").read_text()


def test_what_a_study_without_an_answer_is_told(small: StudyRun, tmp_path: Path) -> None:
    folder = written_study(small.home / "studies" / "small")
    result = CliRunner().invoke(cli.main, ["export", str(folder), "--to", str(tmp_path / "model")])
    assert result.exit_code == 2
    assert "found one that is interrupted, with no answer yet; `auxtune resume" in result.stderr
    nothing = CliRunner().invoke(cli.main, ["export", str(tmp_path / "gone"), "--to", str(tmp_path / "model")])
    assert nothing.exit_code == 2 and "expected the folder of a study" in nothing.stderr


def test_data_that_is_gone_or_has_changed_is_said(tmp_path: Path) -> None:
    run = small_study(tmp_path)
    run.finish("run", "study.yaml", "--set", "selector=single_task", "--set", "training.steps=10")
    alone = export(run, tmp_path / "alone", "--json")
    assert alone.exit_code == 0 and json.loads(alone.stdout)["models"][0]["tasks"] == ["moods"]
    assert "no auxiliary was chosen" in (tmp_path / "alone" / "README.md").read_text()
    rows = tmp_path / "tasks" / "moods" / "train.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[:-40]))
    with pytest.raises(DriftError, match=r"these differ from what the study was of: tasks\.moods\. Its scores"):
        Study.from_folder(run.folder).export(tmp_path / "model")
    shutil.rmtree(tmp_path / "tasks" / "moods")
    with pytest.raises(StudyDataError, match=r"tasks\.moods: .*tasks/moods"):
        Study.from_folder(run.folder).export(tmp_path / "model")
    (run.folder / "selection.json").unlink()
    with pytest.raises(AuxtuneError, match=r"expected its selection\.json, found none; `auxtune resume"):
        Study.from_folder(run.folder).export(tmp_path / "model")
    assert not (tmp_path / "model").exists() and not list(tmp_path.glob(".model*"))


def test_an_answer_that_is_not_the_ledger_s_is_refused(whole: StudyRun, tmp_path: Path) -> None:
    run = copy_of(whole, tmp_path / "copy")
    path = run.folder / "selection.json"
    answer = json.loads(path.read_text())
    path.write_text(json.dumps({**answer, "weights": {"moods": 0.5, "noises": 0.5}}))
    result = export(run, tmp_path / "model")
    assert result.exit_code == 2 and "is not of the selection in the ledger" in result.stderr
    assert "--group is for studies" in export(whole, tmp_path / "model", "--group", "1").stderr


def test_a_model_that_comes_back_different_is_no_model(
    whole: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*arguments: Any) -> LoadedModel:
        model = load_model(*arguments)
        model._model.encoder.module.embeddings.word_embeddings.weight.data.neg_()
        return model

    monkeypatch.setattr(exporting, "load_model", spoilt)
    with pytest.raises(AuxtuneError, match=r"task \w+: the model, saved and loaded again, does not score as it did"):
        Study.from_folder(whole.folder).export(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_draft_is_one_process_s_and_never_takes_the_place_of_a_model(tmp_path: Path) -> None:
    with StagingFolder(tmp_path / "model") as draft:
        with pytest.raises(Locked), StagingFolder(tmp_path / "model"):
            pass
        (draft.model("") / "a").write_text("ours")
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "b").write_text("another's")
        with pytest.raises(AuxtuneError, match="found one that is not empty"):
            draft.publish()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "b"]
    (tmp_path / "file").write_text("")
    with pytest.raises(AuxtuneError, match="found a file; choose another --to"), StagingFolder(tmp_path / "file"):
        pass
    with (
        pytest.raises(AuxtuneError, match="cannot be written: Not a directory"),
        StagingFolder(tmp_path / "file" / "model"),
    ):
        pass


def test_only_the_rows_that_were_kept_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the study's storage begins
    (tmp_path / "study.yaml").write_text(ALL_KINDS.replace("./encoder", "tiny").replace("covariance", "none"))
    write_tasks(tmp_path / "tasks")
    study = read_study(tmp_path / "study.yaml")
    read, base = load_study_data(study)
    tasks = encode_tasks(read, resolve_model(study), tmp_path / "tokens")
    rows = np.arange(0, 80, 2)
    folder = tmp_path / "studies" / "small"
    (folder / "rows").mkdir(parents=True)
    np.save(folder / "rows" / f"{digest_rows(rows)}.npy", rows)
    kept = Kept({}, len(read["value"].splits["train"]), len(rows), digest_rows(rows))
    shares = {"pair": 0.5, "value": 0.5}
    wanted = ModelSpec("", Proposal(tuple(shares), shares, rows={"value": kept}), ("pair",))
    exporter = ModelExporter(StudyContext.from_data(study, read, base), read, tasks, base, Slots(1, 0, 1), print)
    with StopSignals() as signals:
        exporter.train(wanted, tmp_path / "run", signals)
    digests = read_checkpoint(tmp_path / "run" / "checkpoint")[1]["identity"]["data digests"]
    assert digests == {"pair": tasks["pair"].digest, "value": keep_rows(tasks["value"], rows).digest}
    assert digests["value"] != tasks["value"].digest
