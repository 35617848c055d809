"""Names of selectors: imported on use, told apart, opened to third parties, with options that explain themselves."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from auxtune.orchestrator.cli import main
from auxtune.selectors import registry
from auxtune.selectors.methods.beta_bandit import BetaBandit
from auxtune.selectors.methods.thompson import Thompson

SHIPPED = (
    "auto",
    "single_task",
    "all_tasks",
    "random_subset",
    "size_proportional",
    "size_sqrt",
    "random_mixture",
    "random_groups",
    "thompson",
    "gp_mixing",
    "autosem",
    "mixture_regression",
    "gradts_threshold",
    "gradts_trial",
    "gradts_instance",
    "covariance_similarity",
    "svd_reweighting",
    "representation_gradient",
    "tag",
    "exhaustive",
    "hoa",
    "grad_tag",
    "linear_surrogate",
    "transfer_prior",
)

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar, Literal
from auxtune.selectors.methods.controls import SingleTask

@dataclass(frozen=True)
class Markov(SingleTask):
    '''Walks at random.

    Slowly.
    '''

    paper: ClassVar[str] = "Markov (1906)"
    depth: float = 1.5
    style: Literal["wide", "deep"] = "wide"
    seen: dict[str, int] | None = None
    quick: bool = False

class Undeclared:
    '''No facts.'''
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package on the path whose metadata names entry points."""
    (tmp_path / "my_markov.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))

    def with_entry_points(package, text):
        metadata = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(text)

    yield with_entry_points
    sys.modules.pop("my_markov", None)


def test_names_come_in_the_order_of_the_table():
    assert registry.names() == SHIPPED
    assert [method.name for method in registry.describe()] == list(SHIPPED)


def test_every_shipped_selector_can_be_made_and_described():
    for method in registry.describe():
        selector = registry.make(method.name, {option.name: option.default for option in method.options})
        assert selector == registry.make(method.name, {})
        assert method.summary.endswith(".")
        assert all(option.meaning for option in method.options)
    assert registry.make("thompson", {"gamma": 0.1}) == Thompson(gamma=0.1)
    assert registry.make_inner("beta_bandit", {"gamma": 0}) == BetaBandit(gamma=0)


def test_the_method_table_is_json():
    rows = json.loads(json.dumps([dataclasses.asdict(method) for method in registry.describe()]))
    assert [row["name"] for row in rows] == list(SHIPPED)
    thompson = rows[SHIPPED.index("thompson")]
    assert (thompson["answers"], thompson["needs_primary"], thompson["groups"]) == ("subset", True, False)
    assert "1904.04153" in thompson["paper"]
    assert {option["name"]: option["default"] for option in thompson["options"]} == {
        "mode": "rounds",
        "rounds": 200,
        "round_steps": None,
        "seeds": 2,
        "gamma": 0.3,
        "released": False,
    }


def test_a_selector_is_imported_when_it_is_used_and_not_before():
    code = (
        "import sys; from auxtune.selectors import registry; registry.names();"
        "before = 'auxtune.selectors.methods.thompson' in sys.modules; registry.make('thompson', {});"
        "print(before, 'auxtune.selectors.methods.thompson' in sys.modules,"
        "      'auxtune.selectors.methods.controls' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True", "False"]


def test_an_unknown_name_is_refused_with_the_valid_ones_and_the_closest():
    with pytest.raises(ValueError, match=r"must be one of auto, .*, got 'tompson'; did you mean thompson\?"):
        registry.make("tompson", {})
    with pytest.raises(ValueError, match=r"got 'zzz'$"):
        registry.make("zzz", {})
    with pytest.raises(ValueError, match="inner must be one of beta_bandit, got 'thompson'"):
        registry.make_inner("thompson", {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("thompson", {"gama": 0.3}, "be one of mode, rounds, round_steps, seeds, gamma, released; did you mean gamma"),
        ("all_tasks", {"size": 2}, "selector.size must be left out, this method has no options"),
        ("thompson", {"mode": "trial"}, "selector.mode must be one of 'rounds', 'trials', got 'trial'"),
        ("thompson", {"rounds": 1}, "selector.rounds must be an integer of at least 2, got 1; omit it for the"),
        ("thompson", {"rounds": 200.0}, "selector.rounds must be an integer of at least 2, got 200.0"),
        ("thompson", {"seeds": True}, "selector.seeds must be an integer of at least 1, got True"),
        ("thompson", {"gamma": "0.3"}, "selector.gamma must be a number of at least 0 and of at most 1, got '0.3'"),
        ("thompson", {"gamma": 1.5}, "got 1.5; omit it for the default 0.3"),
        ("thompson", {"gamma": float("nan")}, "got nan"),
        ("thompson", {"gamma": None}, "got None"),
        ("random_subset", {"size": 0}, "selector.size must be an integer of at least 1 or null, got 0"),
        ("random_subset", {"trials": "all"}, "selector.trials must be an integer of at least 1 or null, got 'all'"),
    ],
)
def test_bad_options_say_what_was_expected_and_what_was_found(name, options, message):
    with pytest.raises(ValueError) as error:
        registry.make(name, options)
    assert message in str(error.value)


def test_options_are_checked_without_the_registry_too():
    with pytest.raises(ValueError, match=r"selector\.round_steps must be an integer of at least 1 or null, got 0"):
        Thompson(round_steps=0)
    with pytest.raises(ValueError, match=r"inner\.prior must be a number above 0, got 0"):
        BetaBandit(prior=0)


def test_a_third_party_selector_is_made_and_described_like_any_other(install):
    install("markov-selector", "[auxtune.selectors]\nmarkov = my_markov:Markov\n")
    assert registry.names() == (*SHIPPED, "markov")
    assert registry.make("markov", {"depth": 2, "style": "deep", "seen": {"a": 1}}).depth == 2
    row = registry.describe()[-1]
    assert (row.name, row.summary, row.paper) == ("markov", "Walks at random.", "Markov (1906)")
    assert [option.expected for option in row.options] == [
        "a number",
        "one of 'wide', 'deep'",
        "dict[str, int] or null",
        "true or false",
    ]
    with pytest.raises(ValueError, match=r"selector\.quick must be true or false, got 1"):
        registry.make("markov", {"quick": 1})


def test_a_third_party_may_bring_what_steers_inside_a_run(install):
    install("markov-selector", "[auxtune.inner_selectors]\nmarkov = my_markov:Markov\n")
    assert registry.make_inner("markov", {}).style == "wide"
    assert "markov" not in registry.names()


def test_a_name_given_twice_is_refused_with_both_origins_and_others_work(install):
    install("markov-selector", "[auxtune.selectors]\nthompson = my_markov:Markov\n")
    both = "auxtune.selectors.methods.thompson:Thompson of auxtune and my_markov:Markov of markov-selector"
    with pytest.raises(ValueError, match=f"selector 'thompson' must be given once, got {both}"):
        registry.make("thompson", {})
    [broken] = registry.list_broken()
    assert broken.name == "thompson" and both in broken.broken
    assert registry.make("gp_mixing", {}).wants().answers == "weights"


def test_two_third_parties_may_not_share_a_name(install):
    install("markov-one", "[auxtune.selectors]\nmarkov = my_markov:Markov\n")
    install("markov-two", "[auxtune.selectors]\nmarkov = my_markov:Undeclared\n")
    with pytest.raises(ValueError, match=r"of markov-(one|two) and my_markov:.* of markov-(one|two); rename one"):
        registry.make("markov", {})
    assert registry.make("thompson", {}) == Thompson()


BROKEN = {
    "import os, no_such_module": "No module named 'no_such_module'",
    "import sys; sys.exit(7)": "SystemExit: 7",
    "raise ValueError('not today')": "ValueError: not today",
    "class Markov:": "IndentationError",
    "Markov = 3": "must declare paper, wants",
    "class Markov:\n    paper = None\n    def wants(self):\n        return 'all'": "expected Wants, got str 'all'",
    "class Markov:\n    paper = wants = None\n    def __init__(self):\n        raise SystemExit": "SystemExit",
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.items(), ids=BROKEN.values())
def test_a_broken_plug_in_is_listed_with_its_reason_and_no_other_is_hurt(install, tmp_path, source, reason):
    (tmp_path / "my_markov.py").write_text(source + "\n")
    install("markov-selector", "[auxtune.selectors]\nmarkov = my_markov:Markov\n")
    assert [method.name for method in registry.describe()] == list(SHIPPED)
    [broken] = registry.list_broken()
    assert broken.name == "markov" and reason in broken.broken and "markov-selector" in broken.broken
    with pytest.raises((ImportError, ValueError), match="markov-selector"):
        registry.make("markov", {})
    result = CliRunner().invoke(main, ["selectors", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)[-1] == {"name": "markov", "broken": broken.broken}


@pytest.mark.parametrize("value", ["my_markov:Absent", "no_such_module:Markov"])
def test_one_that_cannot_be_loaded_is_named_with_its_origin(install, value):
    install("markov-selector", f"[auxtune.selectors]\nmarkov = {value}\n")
    with pytest.raises(ImportError, match=f"selector 'markov', {value} of markov-selector, cannot be loaded"):
        registry.make("markov", {})


def test_one_that_declares_no_facts_is_refused(install):
    install("markov-selector", "[auxtune.selectors]\nmarkov = my_markov:Undeclared\n")
    with pytest.raises(ValueError, match="must declare paper, wants"):
        registry.make("markov", {})
