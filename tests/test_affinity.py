"""The table of what tasks do for each other, and subsets made of one of its rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from auxtune.selectors.kit.affinity import build_affinity
from auxtune.selectors.kit.grouping import keep_at_least, rank_tasks, take_best

VALUES = np.array([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, np.nan, 9.0]])
ABC = build_affinity("abc", VALUES, "tag", "loss ratio", seed=7, details={"diagonal": "held-out"})


def test_rows_are_recipients_and_columns_are_sources():
    assert ABC.read_row("a") == {"b": 1.0, "c": 2.0}
    assert ABC.read_row("b") == {"a": 3.0, "c": 4.0}


def test_tasks_are_left_out_and_put_in_another_order_without_changing_a_number():
    turned = ABC.restrict_to(["c", "a", "b"])
    assert turned.tasks == ("c", "a", "b")
    assert turned.read_row("b") == {"c": 4.0, "a": 3.0}
    assert ABC.restrict_to(["b", "a"]).values.tolist() == [[9.0, 3.0], [1.0, 9.0]]
    assert (turned.method, turned.measured, turned.seed) == ("tag", "loss ratio", 7)


def test_both_directions_are_averaged_and_what_is_unknown_in_one_stays_unknown():
    symmetrised = ABC.average_directions()
    assert symmetrised.read_row("a") == {"b": 2.0, "c": 3.5}
    assert np.isnan(symmetrised.values[1, 2]) and np.isnan(symmetrised.values[2, 1])
    assert not ABC.known and ABC.restrict_to(["a", "b"]).known


def test_the_diagonal_may_be_unknown_where_all_else_is_known():
    assert build_affinity("ab", np.array([[np.nan, 1], [2, np.nan]]), "m", "x").known


def test_as_json_it_says_where_it_comes_from_and_nothing_stands_for_unknown():
    told = json.loads(json.dumps(ABC.as_json(), allow_nan=False))
    assert told == {
        "tasks": ["a", "b", "c"],
        "recipient_by_source": [[9, 1, 2], [3, 9, 4], [5, None, 9]],
        "method": "tag",
        "measured": "loss ratio",
        "seed": 7,
        "diagonal": "held-out",
    }


def test_nobody_can_write_to_it_not_even_through_what_it_was_made_of():
    values = np.eye(2)
    made = build_affinity("ab", values, "m", "x")
    values[0, 1] = 5.0
    assert made.values[0, 1] == 0.0
    for table in (made, made.restrict_to("ba"), made.average_directions()):
        with pytest.raises(ValueError, match="read-only"):
            table.values[0, 1] = 5.0


@pytest.mark.parametrize(
    ("tasks", "values", "message"),
    [
        ("aa", np.eye(2), "each once"),
        ("", np.empty((0, 0)), "one at least"),
        ("ab", np.eye(3), r"2 tasks must be square, got shape \(3, 3\)"),
        ("ab", np.ones((2, 1)), r"got shape \(2, 1\)"),
        ("ab", np.array([[1, np.inf], [0, 1]]), "must be finite, or nan where it is not known"),
    ],
)
def test_what_is_no_table_is_refused(tasks, values, message):
    with pytest.raises(ValueError, match=message):
        build_affinity(tasks, values, "m", "x")


def test_a_strange_task_is_refused_with_those_it_has():
    with pytest.raises(ValueError, match="tasks must be of the affinity's a, b, c, got d"):
        ABC.restrict_to(["a", "d"])


SCORES = {"a": 0.5, "b": 0.7, "c": 0.5, "d": -0.1}


def test_of_equal_scores_the_first_task_is_ranked_first():
    assert rank_tasks(SCORES) == ("b", "a", "c", "d")
    assert take_best(SCORES, 2) == ("b", "a")
    assert take_best({"c": 0.5, "a": 0.5}, 1) == ("c",)


def test_top_k_takes_all_if_there_are_fewer_and_none_for_none():
    assert take_best(SCORES, 9) == rank_tasks(SCORES)
    assert take_best(SCORES, 0) == ()
    with pytest.raises(ValueError, match="k must be at least 0, got -1"):
        take_best(SCORES, -1)


def test_a_threshold_keeps_what_reaches_it():
    assert keep_at_least(SCORES, 0.5) == ("b", "a", "c")
    assert keep_at_least(SCORES, 0.8) == ()


def test_an_unknown_score_is_refused_and_not_ranked_anywhere():
    with pytest.raises(ValueError, match="got nan for b; leave out unknown ones"):
        take_best({"a": 1.0, "b": float("nan")}, 1)
