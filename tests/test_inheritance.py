"""Runs that begin with another run's weights: what is handed on, what is trained, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from synthetic_tasks import BASE, RECIPE, TASKS, finish, single, start

from auxtune.trials.checkpoint import read_checkpoint
from auxtune.trials.encoder import load_base
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.training import TrainingRun

pytestmark = pytest.mark.arithmetic


def leg(folder: Path, name: str, begin: Path | None = None, steps: int = 6) -> TrainingRun:
    recipe = single(name, keep="last", steps=steps, seed=len(folder.name))
    return TrainingRun(recipe, TASKS, BASE, folder, start=begin)


def left(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "weights")[0]


def test_a_run_begins_with_the_encoder_and_the_heads_that_were_left(tmp_path: Path) -> None:
    finish(leg(tmp_path / "a", "sign"))
    stored = left(tmp_path / "a")
    state = leg(tmp_path / "next", "sign", tmp_path / "a" / "weights")._train_step.model.state_dict()
    own = {name.replace("heads.0.", "heads/sign/"): tensor for name, tensor in state.items()}
    assert own.keys() == stored.keys()
    assert all(torch.equal(own[name], stored[name]) for name in own)


def test_a_chain_keeps_the_heads_of_tasks_that_a_link_does_not_train(tmp_path: Path) -> None:
    finish(leg(tmp_path / "a", "sign"))
    finish(leg(tmp_path / "bb", "tags", tmp_path / "a" / "weights"))
    first, second = left(tmp_path / "a"), left(tmp_path / "bb")
    heads = {name for name in first if name.startswith("heads/sign/")}
    assert heads and all(torch.equal(first[name], second[name]) for name in heads)
    assert any(name.startswith("heads/tags/") for name in second)
    encoder = [name for name in first if name.startswith("encoder.") and first[name].is_floating_point()]
    assert not all(torch.equal(first[name], second[name]) for name in encoder)


def test_the_last_weights_count_where_a_run_hands_them_on(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, keep="last", learning_rate=0.3, evaluate_every=1)  # good, then bad
    run = start(recipe, tmp_path)
    report = finish(run)
    lines = run._progress.lines
    assert report.score == lines[-1]["score"] < max(line["score"] for line in lines)
    assert report.best_step == recipe.steps
    state = run._train_step.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in left(tmp_path).items() if name in state)


def test_only_runs_that_hand_on_leave_weights(tmp_path: Path) -> None:
    finish(start(single("sign"), tmp_path))
    assert not (tmp_path / "weights").exists()


def test_an_interrupted_link_ends_like_one_that_was_not(tmp_path: Path) -> None:
    finish(leg(tmp_path / "a", "sign"))
    begin = tmp_path / "a" / "weights"
    finish(leg(tmp_path / "one", "tags", begin, steps=8))
    broken = leg(tmp_path / "two", "tags", begin, steps=8)
    broken.advance()
    broken.save()
    again = leg(tmp_path / "six", "tags", begin, steps=8)
    again.load(tmp_path / "two" / "checkpoint")
    assert 0 < again.step < 8
    finish(again)
    whole, continued = left(tmp_path / "one"), left(tmp_path / "six")
    assert whole.keys() == continued.keys()
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


def test_weights_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: the weights to start from cannot be used"):
        leg(tmp_path / "a", "sign", tmp_path / "nowhere")
    finish(leg(tmp_path / "b", "sign"))
    file = tmp_path / "b" / "weights" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cannot be used"):
        leg(tmp_path / "c", "sign", tmp_path / "b" / "weights")


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    shallow = ModelOptions(layers=1, max_length=16, pooling="mean")
    recipe = dataclasses.replace(single("sign", keep="last"), model=shallow)
    finish(TrainingRun(recipe, TASKS, load_base(shallow), tmp_path / "one"))
    with pytest.raises(ValueError, match="weights of another model"):
        leg(tmp_path / "two", "sign", tmp_path / "one" / "weights")
