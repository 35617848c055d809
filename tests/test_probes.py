"""Probes are found by name, and what they cannot do is said before anything is trained."""

from __future__ import annotations

import dataclasses
import doctest
from typing import Any

import pytest
from probe_subjects import EVERY_KIND, recipe_of

from auxtune.trials.probes import probe as probe_module
from auxtune.trials.probes.lookahead import Lookahead
from auxtune.trials.probes.probe import (
    FINAL,
    OPTIONS,
    RUNNING,
    VERSIONS,
    LookaheadOptions,
    ProbeError,
    check_probes,
    load_final_probe,
    load_running_probe,
)

pytestmark = pytest.mark.arithmetic


def test_every_probe_is_found_and_has_options_and_a_version() -> None:
    assert set(OPTIONS) == set(VERSIONS) == {*FINAL, *RUNNING}
    assert not FINAL.keys() & RUNNING.keys()
    for name in FINAL:
        assert load_final_probe(name).__name__ == f"measure_{name}"
    assert load_running_probe("lookahead") is Lookahead


@pytest.mark.parametrize(
    ("names", "probes", "message"),
    [
        (("sign",), {"cka": {}}, r"recipe.probes: expected some of head_importance, .*, lookahead, found 'cka'"),
        (
            ("sign",),
            {"hidden_states": {"layers": 2}},
            r"probes.hidden_states: expected no options, found the option 'lay",
        ),
        (
            ("sign",),
            {"gradients": {"batch": 2}},
            r"probes.gradients: expected some of batches, found the option 'batch'",
        ),
        (("sign",), {"gradients": {"batches": 0}}, r"batches: expected a whole number of at least 1, found 0"),
        (("sign",), {"lookahead": {"every": True}}, r"every: expected a whole number of at least 1, found True"),
        (("sign",), {"lookahead": {"step": "adam"}}, r"probes.lookahead.step: expected sgd or optimiser, found 'adam'"),
        (("sign",), {"lookahead": {"every": 50}}, r"expected a step to measure at, found none in 14 steps, 50 apart"),
        (("sign", "tags"), {"covariance": {}}, r"probes.covariance: expected a run of one task, found sign, tags"),
        (("tags",), {"label_moments": {}}, r"found tags of tokens in task tags"),
    ],
)
def test_what_cannot_be_measured_is_refused(names: tuple[str, ...], probes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        check_probes(recipe_of(names, probes=probes), EVERY_KIND)


def test_what_can_be_measured_is_not() -> None:
    single = {name: {} for name in (*FINAL, *RUNNING)}
    check_probes(recipe_of(("sign",), probes=single), EVERY_KIND)
    check_probes(recipe_of(("sign", "tags"), probes={"hidden_states": {}, "lookahead": {"every": 7}}), EVERY_KIND)
    check_probes(dataclasses.replace(recipe_of(("topics",), probes={"label_moments": {}}), steps=0), EVERY_KIND)


def test_probes_are_looked_for_where_they_belong() -> None:
    with pytest.raises(ProbeError, match="found 'lookahead'"):
        load_final_probe("lookahead")
    with pytest.raises(ProbeError, match="expected some of lookahead, found 'gradients'"):
        load_running_probe("gradients")
    assert LookaheadOptions().every == 10


def test_the_example_of_options_holds() -> None:
    assert doctest.testmod(probe_module) == (0, 1)
