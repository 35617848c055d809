"""Selectors against recorded tables whose truth is known: what they choose, cost and are judged."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.simulation.recorded_groups import RecordedGroups
from auxtune.orchestrator.simulation.recorded_mixtures import RecordedMixtures
from auxtune.orchestrator.simulation.replay import replay
from auxtune.orchestrator.simulation.simulate import COLUMNS, simulate
from auxtune.orchestrator.tables.reading import read_recorded
from auxtune.orchestrator.tables.rows import TableError
from auxtune.selectors.protocol import Proposal
from auxtune.selectors.registry import make
from tests.recorded_tables import (
    ABCD,
    groups_rows,
    half_size,
    mixtures_rows,
    transfer_rows,
    write_rows,
    write_table,
)


@pytest.fixture
def groups(tmp_path):
    """All groups of four tasks, and single tasks in half size."""
    rows = groups_rows(seed=4)
    return write_table(tmp_path / "groups", "groups", ABCD, [*rows, *half_size(rows)])


def brute_force(folder, budget: float, chosen_on: str = "validation") -> float:
    """Total test loss of the cheapest total loss on ``chosen_on`` within ``budget``, by looking at every choice."""
    frame = pd.read_csv(folder / "rows.csv")
    frame["key"] = frame["tasks"] + "/" + frame["network"]
    splits = frame.groupby("split")
    tables = {split: part.pivot(index="key", columns="target", values="value") for split, part in splits}
    costs = frame.drop_duplicates("key").set_index("key")["cost"]
    best = None
    for size in range(1, 5):
        for choice in itertools.combinations(costs.index, size):
            on = tables[chosen_on].loc[list(choice)]
            if costs[list(choice)].sum() > budget or on.min().isna().any():
                continue
            serving = tables["validation"].loc[list(choice)].idxmin()
            test = sum(tables["test"].loc[serving[task], task] for task in ABCD)
            if best is None or on.min().sum() < best[0]:
                best = (on.min().sum(), test)
    return best[1]


@pytest.mark.parametrize("budget", [1, 1.5, 2, 2.5, 3])
@pytest.mark.parametrize("split", ["validation", "early"])
def test_exhaustive_finds_what_trying_every_choice_finds(groups, budget, split) -> None:
    rows = simulate(groups, [{"name": "exhaustive", "split": split}], inference_budgets=[budget])
    assert rows["total_test"][0] == pytest.approx(brute_force(groups, budget, split))
    assert rows["mean_test"][0] == pytest.approx(rows["total_test"][0] / 4)
    assert (rows["trials"][0], rows["models"][0] is pd.NA) == (19, True)
    every = sum(size * count for size, count in ((1, 4 + 4), (2, 6), (3, 4), (4, 1)))
    assert rows["cost"][0] == pytest.approx(every * (0.2 if split == "early" else 1))


def test_regret_is_against_the_best_on_test_under_the_same_budget(groups) -> None:
    rows = simulate(groups, ["exhaustive"], inference_budgets=[2])
    frame = pd.read_csv(groups / "rows.csv")
    frame.loc[frame["split"] == "validation", "value"] = frame.loc[frame["split"] == "test", "value"].to_numpy()
    frame.to_csv(groups / "rows.csv", index=False)
    assert rows["regret"][0] == pytest.approx(rows["total_test"][0] - brute_force(groups, 2))
    assert simulate(groups, ["exhaustive"], inference_budgets=[2])["regret"][0] == pytest.approx(0)


def test_pairs_predict_larger_groups_by_their_means(tmp_path) -> None:
    pairs = {
        "a": (0.3,),
        "b": (0.35,),
        "c": (0.7,),
        "a+b": (0.1, 0.2),
        "b+c": (0.3, 0.4),
        "a+c": (0.5, 0.6),
        "a+b+c": (9, 9, 9),
    }
    rows = [
        {"tasks": group, "target": task, "split": split, "value": value, "cost": 1}
        for group, values in pairs.items()
        for task, value in zip(group.split("+"), values, strict=True)
        for split in ("validation", "test")
    ]
    recorded = read_recorded(write_table(tmp_path, "groups", "abc", rows))
    replayed = replay(make("hoa", {}), RecordedGroups(recorded, None, models=1), seed=0, budget=10)
    (predicted,) = replayed.fold.predict([Proposal(("a", "b", "c"))])
    assert {task: -loss for task, loss in predicted.items()} == pytest.approx({"a": 0.30, "b": 0.25, "c": 0.50})
    assert (replayed.trials, replayed.cost) == (6, 9)
    assert replayed.selection.groups == ({"tasks": ["a", "b", "c"], "serves": ["a", "b", "c"]},)


def test_controls_are_each_tasks_own_mixture_and_cost_nothing(groups) -> None:
    rows = simulate(groups, ["single_task", "all_tasks"], models=[2]).set_index("selector")
    frame = pd.read_csv(groups / "rows.csv").query("split == 'test' and network == 'full'")
    together = frame.query("tasks == 'a+b+c+d'")["value"].sum()
    alone = frame[~frame["tasks"].str.contains("+", regex=False)]["value"].sum()
    assert rows["total_test"].to_dict() == pytest.approx({"single_task": alone, "all_tasks": together})
    assert rows["cost"].tolist() == [0, 0]


def test_a_target_is_a_primary_and_regret_is_over_the_subsets_that_hold_it(groups) -> None:
    rows = simulate(groups, ["exhaustive", "random_subset"], targets=["c"], budgets=[19])
    frame = pd.read_csv(groups / "rows.csv").query("split == 'test' and target == 'c'")
    assert rows["total_test"].isna().all()
    assert rows["trials"].tolist() == [9, 7]  # eight groups hold c, one of them in two sizes
    for value, regret in zip(rows["mean_test"], rows["regret"], strict=True):
        assert regret == pytest.approx(value - frame["value"].min())


def test_a_selector_that_needs_a_primary_answers_each_target(groups) -> None:
    rows = simulate(groups, ["random_subset"], models=[2], budgets=[3])
    assert rows["target"].tolist() == list(ABCD)
    assert rows["models"].isna().all()


def test_of_several_recorded_seeds_a_trial_sees_one_and_the_judge_the_mean(tmp_path) -> None:
    folder = write_table(tmp_path, "groups", "ab", groups_rows("ab", seeds=3))
    frame = pd.read_csv(folder / "rows.csv")
    rows = simulate(folder, ["all_tasks"], targets=["a"], seeds=range(6))
    mean = frame.query("tasks == 'a+b' and target == 'a' and split == 'test'")["value"].mean()
    assert rows["mean_test"].tolist() == pytest.approx([mean] * 6)
    seen = {
        replay(make("all_tasks", {}), RecordedGroups(read_recorded(folder), "a"), seed, 1).accounts.best.score
        for seed in range(6)
    }
    assert len(seen) == 3


def test_what_was_not_recorded_fails_and_is_charged(tmp_path) -> None:
    folder = write_table(tmp_path, "groups", ABCD, [r for r in groups_rows() if r["tasks"] not in ("a+b", "a+b+c+d")])
    recording = RecordedGroups(read_recorded(folder), "a")
    replayed = replay(make("random_subset", {}), recording, seed=0, budget=100)
    failed = [trial for trial in replayed.accounts.trials.values() if trial.status == "failed"]
    assert sorted("+".join(trial.proposal.tasks) for trial in failed) == ["a+b", "a+b+c+d"]
    assert all(trial.told.outcome.why.startswith("not recorded") for trial in failed)
    assert replayed.cost == sum(len(trial.proposal.tasks) for trial in replayed.accounts.trials.values()) == 19


def test_recorded_seconds_are_the_cost_and_the_clock(tmp_path) -> None:
    rows = [{**row, "seconds": 10 * len(row["tasks"].split("+"))} for row in groups_rows("abc")]
    recorded = read_recorded(write_table(tmp_path, "groups", "abc", rows))
    one, two = (
        replay(make("exhaustive", {}), RecordedGroups(recorded, None, models=2), 0, 99, slots) for slots in (1, 2)
    )
    assert one.cost == two.cost == 120
    ends = [max(trial.told.time for trial in each.accounts.trials.values()) for each in (one, two)]
    assert ends[0] == 120
    assert 60 <= ends[1] < 90
    assert one.selection == two.selection


def test_at_equal_cost_nothing_is_begun_once_that_much_is_spent(groups) -> None:
    rows = simulate(groups, ["exhaustive", "random_groups"], models=[2], most_cost=10).set_index("selector")
    assert rows["cost"].to_dict() == {"exhaustive": 10, "random_groups": 4}
    assert rows["trials"]["exhaustive"] == 9  # eight single tasks and a pair


def test_with_more_slots_a_selector_has_seen_less_when_it_asks(tmp_path) -> None:
    recorded = read_recorded(write_table(tmp_path, "mixtures", ABCD, mixtures_rows()))
    told_before = []
    for slots in (1, 4):
        replayed = replay(make("gp_mixing", {"samples": 8}), RecordedMixtures(recorded, "a"), 0, 8, slots)
        trials = list(replayed.accounts.trials.values())
        told_before.append([sum(other.told.time <= trial.proposed for other in trials) for trial in trials])
    assert told_before[0] == list(range(8))
    assert max(n - told for n, told in enumerate(told_before[1])) == 3


def test_a_mixture_is_the_nearest_one_not_yet_used(tmp_path) -> None:
    recorded = read_recorded(write_table(tmp_path, "mixtures", ABCD, mixtures_rows(train=5)))
    recording, weights = RecordedMixtures(recorded, "overall"), recorded.table.weights["train"]
    asked = Proposal(ABCD, {"a": 0.7, "b": 0.1, "c": 0.1, "d": 0.1})
    order = np.argsort(np.abs(weights - [0.7, 0.1, 0.1, 0.1]).sum(axis=1)).tolist()
    for row in order:
        executed = recording.execute(asked)
        assert [executed.weights[task] for task in ABCD] == pytest.approx(weights[row].tolist())
        assert recording.train(executed).outcome.score == -recorded.table.values["train"][row, 0]
    assert recording.exhausted


def test_a_mixtures_answer_is_judged_by_the_nearest_row_of_the_test_split(tmp_path) -> None:
    folder = write_table(tmp_path, "mixtures", ABCD, mixtures_rows())
    row = simulate(folder, ["all_tasks"], targets=["a"]).iloc[0]
    frame = pd.read_csv(folder / "rows.csv").query("split == 'test'")
    nearest = (frame[[f"w:{task}" for task in ABCD]] - 0.25).abs().sum(axis=1).idxmin()
    assert row["mean_test"] == pytest.approx(frame["y:a"][nearest])
    assert row["regret"] == pytest.approx(frame["y:a"][nearest] - frame["y:a"].min())


def test_evidence_comes_from_affinity_csv(tmp_path) -> None:
    folder = write_table(tmp_path, "groups", ABCD, groups_rows())
    toward = {("a", "c"): 0.9, ("a", "b"): -0.1, ("a", "d"): 0.5}
    write_rows(
        folder / "affinity.csv",
        [
            {"method": method, "recipient": r, "source": s, "seed": 0, "value": toward.get((r, s), 0.0), "seconds": 2}
            for method in ("tag", "gradts", "covariance")
            for r, s in itertools.product(ABCD, ABCD)
        ],
    )
    chosen = {}
    asked = {"tag": {}, "gradts_threshold": {"threshold": 0.4}, "covariance_similarity": {"keep": 1}}
    for name, options in asked.items():
        replayed = replay(make(name, options), RecordedGroups(read_recorded(folder), "a"), 0, 20)
        chosen[name] = replayed.selection.tasks
    assert chosen == {"tag": ("a", "c", "d"), "gradts_threshold": ("a", "c", "d"), "covariance_similarity": ("a", "c")}


@pytest.mark.parametrize(("spread", "tasks", "shown"), [(0.1, ("a", "c", "d"), True), (20.0, ABCD, False)])
def test_recorded_seeds_say_how_far_a_joint_run_is_to_be_believed(tmp_path, spread, tasks, shown) -> None:
    folder, rng = write_table(tmp_path, "groups", ABCD, groups_rows()), np.random.default_rng(4)
    toward = {("a", "c"): 0.9, ("a", "b"): -0.7, ("a", "d"): 0.5, ("b", "c"): 0.8, ("d", "c"): 0.6, ("c", "b"): -0.5}
    write_rows(
        folder / "affinity.csv",
        [
            {
                "method": "tag",
                "recipient": r,
                "source": s,
                "seed": seed,
                "seconds": 2,
                "value": toward.get((r, s), 0.0) + spread * rng.normal(),
            }
            for r, s in itertools.product(ABCD, ABCD)
            for seed in range(4)
        ],
    )
    selection = replay(make("tag", {}), RecordedGroups(read_recorded(folder), "a"), 0, 20).selection
    assert selection.tasks == tasks and selection.belief["reliability"]["shown"] == shown
    assert selection.belief["reliability"]["replicates"] == 4
    assert shown or "what 4 recorded runs measured" in selection.belief["why"]


def test_without_affinity_csv_it_is_said_what_is_missing(groups) -> None:
    with pytest.raises(SelectorError, match=r"lookahead needs affinity.csv with the method tag .*has no affin"):
        simulate(groups, ["tag"])


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("thompson", "what steers inside a run cannot be simulated"),
        ("svd_reweighting", "cannot be simulated"),
        ("gradts_instanse", "did you mean gradts_instance"),
        ({"name": "hoa", "size": 3}, "size"),
    ],
)
def test_what_cannot_be_simulated_is_refused(groups, selector, said) -> None:
    with pytest.raises((SelectorError, TableError), match=said):
        simulate(groups, [selector], targets=["a"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"targets": ["z"]}, "targets must be of a, b, c, d; got z"),
        ({"models": [0]}, "models must be whole numbers of at least 1, got 0"),
        ({"inference_budgets": [float("inf")]}, "inference budgets must be finite and above 0, got inf"),
        ({"budgets": [-3]}, "budgets must be whole numbers of at least 0, got -3"),
        ({"concurrent": 0}, "slots must be whole numbers of at least 1, got 0"),
        ({"split": "train"}, "expected a split of .* to judge on, got 'train'"),
        ({"targets": ["a"], "models": [2]}, "for a table of groups without a target"),
    ],
)
def test_questions_that_make_no_sense_are_refused(groups, asked, said) -> None:
    with pytest.raises(TableError, match=said):
        simulate(groups, ["exhaustive"], **asked)


def test_rows_have_their_columns_and_the_same_question_the_same_answer(groups) -> None:
    asked = {"models": [1, 2], "seeds": range(3)}
    rows = simulate(groups, ["random_groups", "hoa"], **asked)
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) == 2 * 2 * 3
    pd.testing.assert_frame_equal(rows, simulate(groups, ["random_groups", "hoa"], **asked))


def test_sources_are_ranked_and_a_subset_says_only_who_is_in(tmp_path) -> None:
    tasks = tuple("abcdefgh")
    folder = write_table(tmp_path, "transfer", tasks, transfer_rows(tasks, "b"), mode="max")
    rows = simulate(folder, ["all_tasks", "single_task"], budgets=[0])
    assert rows["target"].unique().tolist() == list(tasks)
    assert rows.groupby("target")["ndcg"].nunique().tolist() == [1] * 8  # neither says who helps
    every = simulate(folder, [{"name": "random_subset", "size": 1, "trials": 7}])
    found = every[every["target"] != "b"]
    assert (found["regret_at_1"] < 5).all()  # it has trained all sources: nearly nothing is missed
    assert (found["cost"] == 14).all()


def test_a_planted_helper_is_found_without_training_on_the_target_and_not_by_chance(tmp_path) -> None:
    tasks = tuple(f"t{i}" for i in range(10))
    folder = write_table(tmp_path, "transfer", tasks, transfer_rows(tasks, "t3"), mode="max")
    rows = simulate(folder, ["transfer_prior", "random_subset"])
    found = rows[rows["target"] != "t3"].groupby("selector")[["ndcg", "regret_at_1", "cost"]].mean()
    assert found.loc["transfer_prior", "regret_at_1"] < 1 < 10 < found.loc["random_subset", "regret_at_1"]
    assert found.loc["transfer_prior", "ndcg"] > 80 > found.loc["random_subset", "ndcg"]
    assert found.loc["transfer_prior", "cost"] == 0


def test_mixtures_that_were_never_seen_are_predicted_and_the_best_of_them_is_taken(tmp_path) -> None:
    folder = write_table(tmp_path, "mixtures", ABCD, mixtures_rows(train=80))
    rows = simulate(folder, ["mixture_regression", "all_tasks"], targets=["overall"], budgets=[40])
    rows = rows.set_index("selector")
    assert rows["spearman"]["mixture_regression"] > 0.95
    assert rows["regret"]["mixture_regression"] < 0.1 * rows["regret"]["all_tasks"]
    assert rows["trials"].to_dict() == {"mixture_regression": 40, "all_tasks": 1}


def test_a_probe_is_paid_for_once_whatever_compares_what_it_gave(tmp_path) -> None:
    rows = [{**row, "seconds": 4} for row in groups_rows()]
    folder = write_table(tmp_path, "groups", ABCD, rows)
    write_rows(
        folder / "affinity.csv",
        [
            {"method": method, "recipient": r, "source": s, "seed": 0, "value": 0.5, "seconds": seconds}
            for method, seconds in (("tag", 3), ("tag_cosine", 3), ("representation", 2), ("gradient", 1.5))
            for r, s in itertools.product(ABCD, ABCD)
        ],
    )
    cost = simulate(folder, ["tag", "representation_gradient"], targets=["a"]).set_index("selector")["cost"]
    assert cost["tag"] == 16 * 3
    # Each run alone takes 4 s of training: 8 s with one probe, and 6 - 4 more with the other.
    assert cost["representation_gradient"] == 4 * (8 + 2)


def test_unknown_seconds_of_a_probe_cost_what_its_training_does(tmp_path) -> None:
    rows = [{**row, "seconds": 4} for row in groups_rows()]
    folder = write_table(tmp_path, "groups", ABCD, rows)
    write_rows(
        folder / "affinity.csv",
        [
            {"method": "tag", "recipient": r, "source": s, "value": 0.5, "seconds": ""}
            for r, s in itertools.product(ABCD, ABCD)
        ],
    )
    assert simulate(folder, ["tag"], targets=["a"])["cost"][0] == 4


def test_groups_recorded_with_fewer_seeds_than_others_are_recorded(tmp_path) -> None:
    rows = [row for row in groups_rows(seeds=3) if "+" not in row["tasks"] or row["seed"] == 1]
    folder = write_table(tmp_path, "groups", ABCD, rows)
    for seed in range(3):
        replayed = replay(make("exhaustive", {}), RecordedGroups(read_recorded(folder), None, models=2), seed, 99)
        assert {trial.status for trial in replayed.accounts.trials.values()} == {"finished"}


def test_the_network_that_was_chosen_for_a_target_is_the_one_judged(tmp_path) -> None:
    rows = groups_rows()
    better = [{**row, "value": 0.01} for row in half_size(rows)]
    row = simulate(write_table(tmp_path, "groups", ABCD, [*rows, *better]), ["exhaustive"], targets=["a"]).iloc[0]
    assert (row["mean_test"], row["regret"]) == (0.01, 0.0)


def test_an_answer_beyond_the_budget_is_none_and_a_control_may_be(groups) -> None:
    rows = simulate(groups, ["hoa", "single_task"], inference_budgets=[0.5]).set_index("selector")
    assert rows["total_test"].isna().to_dict() == {"hoa": True, "single_task": False}


def test_a_fallback_is_judged_as_what_it_is(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = [{**row, "y:overall": rng.normal()} for row in mixtures_rows(train=40)]
    asked = [{"name": "mixture_regression", "samples": 12, "rounds": 1}, "all_tasks"]
    found = simulate(write_table(tmp_path, "mixtures", ABCD, rows), asked, targets=["overall"])
    assert found["mean_test"][0] == found["mean_test"][1]


def test_tasks_on_scales_far_apart_are_served_as_well(tmp_path) -> None:
    rows = [{**row, "value": row["value"] + 1e8 * (row["target"] == "a")} for row in groups_rows(noise=0.2)]
    folder = write_table(tmp_path, "groups", ABCD, rows)
    found = simulate(folder, ["exhaustive"], inference_budgets=[2])["total_test"][0]
    assert found == pytest.approx(brute_force(folder, 2), abs=1e-3)
