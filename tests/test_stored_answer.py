"""The answer as it is stored: what an earlier session wrote is read, and written again byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auxtune.orchestrator.answer.answer import Answer, Contribution, Group, read_answer, write_answer
from auxtune.orchestrator.answer.lift import Lift, MeanLift
from auxtune.orchestrator.errors import AuxtuneError

STORED = Path(__file__).parent / "answers"  # of a primary with leave one out, and of groups


def stored(name: str, folder: Path) -> Answer:
    (folder / "selection.json").write_bytes((STORED / f"{name}.json").read_bytes())
    answer = read_answer(folder)
    assert answer is not None
    return answer


@pytest.mark.parametrize("name", ["primary", "groups"])
def test_a_stored_answer_is_written_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    answer = stored(name, tmp_path)
    assert write_answer(tmp_path, answer).read_bytes() == (STORED / f"{name}.json").read_bytes()
    assert Answer.from_json(answer.as_json()) == answer


def test_every_part_has_its_type(tmp_path: Path) -> None:
    answer = stored("primary", tmp_path)
    assert type(answer.lift["single_task"]) is Lift and answer.groups is None
    assert answer.contribution is not None and isinstance(answer.contribution["helps"], Contribution)
    assert answer.cost.phases["confirm"].trials == answer.cost.trials - answer.cost.phases["search"].trials
    grouped = stored("groups", tmp_path)
    assert isinstance(grouped.lift["single_task"], MeanLift) and grouped.lift["single_task"].models == 5
    assert grouped.groups is not None and all(isinstance(group, Group) for group in grouped.groups)
    assert grouped.served_groups == list(grouped.groups) and grouped.auxiliaries == []


def test_what_an_earlier_version_did_not_write_has_defaults(tmp_path: Path) -> None:
    answer = stored("primary", tmp_path)
    old = {key: value for key, value in answer.as_json().items() if key not in ("recommended", "models", "stability")}
    for lift in old["lift"].values():
        if lift.pop("same_training"):
            lift.update(low=0.0, high=0.0)  # an interval of no width at 0
    read = Answer.from_json(old)
    assert (read.models, read.stability, read.recommended) == (None, None, None)
    assert read.recommendation == answer.recommendation
    assert read.measured_lifts == answer.measured_lifts


def test_a_number_that_is_none_is_refused_by_its_place(tmp_path: Path) -> None:
    content = json.loads((STORED / "primary.json").read_text())
    content["lift"]["single_task"]["mean"] = "much"
    (tmp_path / "selection.json").write_text(json.dumps(content))
    with pytest.raises(AuxtuneError, match=r"answer of format 1, found lift\.single_task\..*mean: Input should be a"):
        read_answer(tmp_path)


def test_without_a_file_there_is_no_answer(tmp_path: Path) -> None:
    assert read_answer(tmp_path) is None
