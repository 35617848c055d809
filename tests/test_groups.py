"""A study without a primary: which models its arms train, who serves which task, and what that is worth."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console, Group
from scipy import stats
from small_study import StudyRun, kill
from test_agenda import World

from auxtune.orchestrator import cli
from auxtune.orchestrator.answer.answer import answer, write_answer
from auxtune.orchestrator.answer.lift import mean_lift, paired_lift
from auxtune.orchestrator.answer.resampling import Predictions
from auxtune.orchestrator.answer.served import groups_of, served
from auxtune.orchestrator.errors import BudgetTooSmall, SelectorError, StudyFileError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.planning.plan_size import check_budget, confirm_trials
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.planning.verification import differences
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Event, Opened, Proposed, Selected, Started, Told
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.reports import write_report
from auxtune.orchestrator.session.prepare import fingerprint_of
from auxtune.orchestrator.study_file.models import CONTROLS
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.views.groups import groups_tables, groups_verdict
from auxtune.orchestrator.views.progress import choice
from auxtune.orchestrator.views.status import status_of
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, Selection, TaskInfo
from auxtune.selectors.random_groups import RandomGroups
from auxtune.selectors.story import tell_story
from auxtune.selectors.testing import check_selection
from auxtune.selectors.world import World as Training
from auxtune.trials.encoder import load_base
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.report import Cost, Report

ROWS = {"d": 300, "a": 100, "c": 300, "b": 300}        # in no order of their names
SPENT = Cost(10.0, 0.0, 10.0)
STUDY = """
study: x
objective: groups
models: 2
tasks: {d: {path: d}, a: {path: a}, c: {path: c}, b: {path: b}}
training: {steps: 60}
selector: {name: random_groups, groupings: 2}
confirm: {seeds: 4}
budget: {trials: 90}
seed: 5
"""


def problem(models: int = 2, rows: Mapping[str, int] = ROWS) -> Problem:
    return Problem(tuple(TaskInfo(n, "classification", r) for n, r in rows.items()), None, seed=5, models=models)


def translator(*overrides: str, models: int = 2, rows: Mapping[str, int] = ROWS) -> Translator:
    study = parse_study(STUDY, "study.yaml", Path(), overrides)
    return Translator(study.options, ModelOptions(), problem(models, rows))


def confirmation(controls: tuple[str, ...] = CONTROLS, seeds: int = 3, models: int = 2) -> Confirmation:
    return Confirmation(problem(models), seeds, controls, translator(models=models).execute)


def groups(*each: str, serves: tuple[str, ...] | None = None) -> Selection:
    """Groups of tasks with names of one letter; each serves all of its tasks unless told otherwise."""
    served_by = serves if serves is not None else each
    answers = tuple({"tasks": [*g], "serves": [*s]} for g, s in zip(each, served_by, strict=True))
    return Selection("groups", groups=answers)


def members(trainings: tuple[Proposal, ...]) -> list[str]:
    return ["".join(proposal.tasks) for proposal in trainings]


# What an arm trains


def test_an_arm_trains_a_model_per_group_and_every_control_its_own_number() -> None:
    arms = confirmation().arms(groups("bad", "cb", serves=("ad", "cb")))
    assert [members(trainings) for trainings in arms["selection"]] == [["dab", "cb"]] * 3      # in the study's order
    assert members(arms["single_task"][0]) == ["d", "a", "c", "b"]
    assert members(arms["all_tasks"][0]) == members(arms["size_proportional"][0]) == ["dacb"]
    (by_size,) = arms["size_proportional"][0]
    assert by_size.weights == {"d": 0.3, "a": 0.1, "c": 0.3, "b": 0.3} and not by_size.cycle
    for seed in range(3):
        assert len({proposal.seed for trainings in arms.values() for proposal in trainings[seed]}) == 1
    made = translator()
    assert {made.steps(proposal) for arm in arms.values() for trainings in arm for proposal in trainings} == {60}


def test_random_groups_are_as_many_as_large_and_as_overlapping_and_have_every_task() -> None:
    chosen = groups("dac", "cb", "b", serves=("da", "c", "b"))
    arm = confirmation(("random_subset",), seeds=100, models=3).arms(chosen)["random_subset"]
    for trainings in arm:
        drawn = members(trainings)
        assert [len(group) for group in drawn] == [3, 2, 1]
        times = Counter("".join(drawn))
        assert set(times) == set("dacb") and sorted(times.values()) == [1, 1, 2, 2]
    # 24 ways to shuffle four names, but two of them are in the same groups: 12 groupings, each of equal chance.
    assert len({tuple(members(trainings)) for trainings in arm}) == 12
    assert confirmation(("random_subset",), seeds=100, models=3).arms(chosen)["random_subset"] == arm


def test_equal_trainings_of_different_arms_are_trained_once() -> None:
    question, chosen = confirmation(("single_task", "all_tasks"), seeds=2), groups("dac", "b")
    arms = question.arms(chosen)
    assert arms["selection"][1][1] == arms["single_task"][1][3]                # b alone
    missing = list(question.missing(chosen, Accounts()))
    assert len(missing) == 2 * (2 + 4 + 1 - 1)
    assert [proposal.seed for proposal in missing] == sorted((p.seed for p in missing), key=missing[0].seed.__ne__)


def test_a_group_that_serves_nothing_is_not_trained_and_one_given_twice_is_one() -> None:
    arms = confirmation((), models=2).arms(groups("da", "cb", "dc", "ad", serves=("d", "cb", "", "a")))
    assert members(arms["selection"][0]) == ["da", "cb"]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (groups("da", "cb", serves=("da", "c")), "b in none"),
        (groups("da", "cb", serves=("dab", "c")), "'serves': \\['d', 'a', 'b'\\]"),
        (groups("d", "a", "cb"), "at most 2 groups"),
        (Selection("mixture", ("d", "a", "c", "b")), "d, a, c, b in none"),
    ],
)
def test_what_is_no_answer_is_refused(chosen: Selection, said: str) -> None:
    with pytest.raises(SelectorError, match=said):
        confirmation().arms(chosen)


def test_no_task_is_rounded_out_of_its_group() -> None:
    made = translator("training.sampling=proportional", rows={**ROWS, "a": 1})
    trained = made.execute(Proposal(("d", "a")))
    assert trained.tasks == ("d", "a") and not trained.cycle
    assert trained.weights == {"d": pytest.approx(300 / 301), "a": pytest.approx(1 / 301)}
    assert made.execute(Proposal(("d", "c"))).cycle


def test_a_model_is_scored_and_reported_on_all_its_tasks() -> None:
    made = translator()
    recipe = made.recipe(made.execute(Proposal(("d", "c"))), "confirm")
    assert recipe.evaluate == recipe.report == ("d", "c")
    assert made.recipe(made.execute(Proposal(("d", "c"))), "search").report == ()


# What it takes


@pytest.mark.parametrize("models", [1, 2, 4, 9])
def test_confirm_is_held_back_and_counted_at_its_most(models: int) -> None:
    most = min(models, 4)                              # more models than tasks would serve nothing
    options = parse_study(STUDY, "study.yaml", Path(), (f"models={models}",)).options
    held = confirmation(seeds=4, models=models).left(Accounts())
    assert confirm_trials(options) == len(held) == 4 * (most + 4 + 1 + most + 1)
    arms = confirmation(seeds=4, models=models).arms(groups(*"dacb"[: most - 1], "dacb"[most - 1 :]))
    assert sum(len(trainings) for arm in arms.values() for trainings in arm) == len(held)


def test_a_budget_below_confirm_is_refused_with_its_models() -> None:
    options = parse_study(STUDY, "study.yaml", Path(), ("budget.trials=39",)).options
    with pytest.raises(BudgetTooSmall, match=r"takes 40 \(4 seeds × 10 models in 5 arms\) .* set it to 40 .* models$"):
        check_budget(options, fewest=0)


# Who serves which task


def account(*trained: tuple[Proposal, dict[str, float] | None]) -> Accounts:
    """Confirm trials with their accuracies on the selection split; ``None``: it failed."""
    opened = Opened(
        session="s", time=0.0, study="", overrides=(), study_folder="", working_folder="", problem=problem(),
        fingerprint={}, versions={},
    )
    events: list[Event] = [opened]
    for number, (proposal, scores) in enumerate(trained):
        outcome = Outcome(None, why="error")
        if scores is not None:
            outcome = Outcome(0.5, {task: {"accuracy": score} for task, score in scores.items()})
        events.append(Proposed(id=number, time=0.0, proposal=proposal, phase="confirm", after=0))
        events.append(Started(id=number, attempt=1, time=0.0, session="s"))
        events.append(Told(id=number, attempt=1, time=1.0, outcome=outcome, cost=SPENT))
    return Accounts(events)


ACCURACY = dict.fromkeys(ROWS, "accuracy")
ARM = confirmation((), seeds=2).arms(groups("dac", "acb"))["selection"]


def test_each_seed_serves_by_its_own_scores_and_the_answer_by_their_mean() -> None:
    (left, right), (other_left, other_right) = ARM
    accounts = account(
        (left, {"d": 0.5, "a": 0.9, "c": 0.7}),
        (right, {"a": 0.8, "c": 0.7, "b": 0.4}),
        (other_left, {"d": 0.5, "a": 0.3, "c": 0.5}),
        (other_right, {"a": 0.6, "c": 0.8, "b": 0.4}),
    )
    first, second = (served(accounts, trainings, ACCURACY) for trainings in ARM)
    assert {task: trial.id for task, trial in first.items()} == {"d": 0, "a": 0, "c": 0, "b": 1}    # c: a tie
    assert {task: trial.id for task, trial in second.items()} == {"d": 2, "a": 3, "c": 3, "b": 3}
    assert groups_of(accounts, ARM, ACCURACY) == [        # a: 0.6 on the left, 0.7 on the right; c: 0.6 and 0.75
        {"tasks": ["d", "a", "c"], "serves": ["d"]},
        {"tasks": ["a", "c", "b"], "serves": ["a", "c", "b"]},
    ]


def test_where_a_model_failed_another_serves_if_it_can() -> None:
    accounts = account((ARM[0][0], None), (ARM[0][1], {"a": 0.1, "c": 0.2, "b": 0.3}))
    assert {task: trial.id for task, trial in served(accounts, ARM[0], ACCURACY).items()} == {"a": 1, "c": 1, "b": 1}
    assert groups_of(accounts, ARM, ACCURACY)[0] == {"tasks": ["d", "a", "c"], "serves": ["d"]}     # nobody else has it


# Lift


def answers(labels: np.ndarray, accuracy: float, seed: int) -> Predictions:
    wrong = np.random.default_rng(seed).random(len(labels)) >= accuracy
    return Predictions(labels, np.where(wrong, 1 - labels, labels), np.arange(len(labels)))


LABELS = {name: np.random.default_rng(rows).integers(2, size=rows) for name, rows in (("a", 800), ("b", 200))}
TWO = {"a": "accuracy", "b": "accuracy"}


def test_identical_seeds_leave_only_the_doubt_of_every_tasks_own_rows() -> None:
    pair = {name: (answers(LABELS[name], 0.8, 1), answers(LABELS[name], 0.7, 2)) for name in TWO}
    lift = mean_lift(TWO, [pair] * 4, models=2, seed=0)
    assert lift is not None and lift.high is not None and (lift.metric, lift.models, lift.seeds) == ("mean", 2, 4)
    per_row = {n: (a.predictions == a.labels).astype(float) - (b.predictions == b.labels) for n, (a, b) in pair.items()}
    assert lift.mean == pytest.approx(np.mean([rows.mean() for rows in per_row.values()]))
    errors = [rows.std() / np.sqrt(len(rows)) for rows in per_row.values()]
    assert lift.high - lift.mean == pytest.approx(1.96 * np.hypot(*errors) / 2, rel=0.1)
    for name, (ours, theirs) in pair.items():
        assert lift.tasks[name] == paired_lift("accuracy", [ours] * 4, [theirs] * 4, seed=0)


def test_rows_without_doubt_leave_only_the_spread_of_the_seeds_means() -> None:
    ones, rows = np.ones(400, dtype=int), np.arange(400)
    right, wrong = Predictions(ones, ones, rows), Predictions(ones, ones * 0, rows)
    won, lost = (right, wrong), (wrong, wrong)
    pairs = [{"a": won, "b": lost}, {"a": lost, "b": won}, {"a": won, "b": won}, {"a": won, "b": lost}]
    lift = mean_lift(TWO, pairs, models=1, seed=0)
    assert lift is not None and lift.high is not None
    assert lift.mean == pytest.approx(np.mean([0.5, 0.5, 1, 0.5]))
    half = stats.t.ppf(0.975, 3) * np.std([0.5, 0.5, 1, 0.5], ddof=1) / 2
    assert lift.high - lift.mean == pytest.approx(half)
    assert (lift.tasks["a"].mean, lift.tasks["b"].mean) == (0.75, 0.5)


def test_the_mean_is_over_seeds_that_have_every_task_and_a_tasks_own_over_those_that_have_it() -> None:
    pair = {name: (answers(LABELS[name], 0.8, 1), answers(LABELS[name], 0.7, 2)) for name in TWO}
    lift = mean_lift(TWO, [pair, pair, {"b": pair["b"]}], models=1, seed=0)
    assert lift is not None
    assert (lift.seeds, lift.tasks["a"].seeds, lift.tasks["b"].seeds) == (2, 2, 3)
    assert (lift.low, lift.tasks["b"].low) == (None, None)
    assert mean_lift(TWO, [{"b": pair["b"]}], models=1, seed=0) is None


# A whole study, without training


@dataclass
class Groups(World):
    """Models that are as good at a task as its group makes them: d with a and c with b help each other."""

    text: str = STUDY

    def __post_init__(self) -> None:
        self.problem = problem()

    def report(self, trial: Trial, **changes: object) -> None:
        """What a worker would leave: scores of all tasks, and for confirm 200 predictions of each."""
        tasks, seed = trial.proposal.tasks, trial.proposal.seed
        good = {t: 0.8 if {*"da"} == {*tasks} or {*"cb"} == {*tasks} else 0.7 - 0.03 * len(tasks) for t in tasks}
        ours = {t: answers(LABELS["b"], good[t], seed + list(ROWS).index(t)) for t in tasks}
        scores = {t: {"accuracy": one.metric("accuracy")} for t, one in ours.items()}
        folder = self.attempt(trial)
        folder.mkdir(parents=True)
        reported = {}
        if trial.phase == "confirm":
            reported = scores
            arrays = {f"{t}/{key}": getattr(one, key) for t, one in ours.items() for key in
                      ("labels", "predictions", "rows")}
            np.savez(folder / "predictions.npz", **arrays)
        mean = float(np.mean([good[t] for t in tasks]))
        write_report(folder, Report(mean, SPENT, 60, 60, scores, reported))

    def answer(self, agenda: Agenda) -> dict[str, Any]:
        """What ``selection.json`` would hold."""
        return answer("x", self.folder, agenda.accounts, agenda._confirmation, ACCURACY, Price())


def test_a_study_answers_with_groups_their_lift_and_each_tasks_own(tmp_path: Path) -> None:
    world = Groups(tmp_path)
    agenda = world.session()
    world.run(agenda)
    assert agenda.finished and list(differences(world.study, read_events(tmp_path / "ledger"))) == []
    content = world.answer(agenda)
    assert content == json.loads(write_answer(tmp_path, content).read_text())
    assert (content["kind"], content["primary"], content["weights"], content["contribution"]) == (
        "groups", None, None, None
    )
    assert [len(group["tasks"]) for group in content["groups"]] == [2, 2]
    assert sorted(task for group in content["groups"] for task in group["serves"]) == sorted(ROWS)
    assert {name: lift["models"] for name, lift in content["lift"].items()} == {
        "single_task": 4, "all_tasks": 1, "random_subset": 2, "size_proportional": 1
    }
    for lift in content["lift"].values():
        assert (lift["metric"], lift["seeds"], list(lift["tasks"])) == ("mean", 4, list(ROWS))
        assert lift["low"] < lift["mean"] < lift["high"]
        assert lift["mean"] == pytest.approx(np.mean([one["mean"] for one in lift["tasks"].values()]))
    assert list(content["report"]) == list(ROWS) and agenda.accounts.best is None
    status = status_of(tmp_path, agenda.accounts, world.study.options)
    assert status["groups"] == [group["tasks"] for group in content["groups"]]
    assert sorted(status["selected"]) == sorted(ROWS) and status["best"] is None


@pytest.mark.parametrize("cut", [0, 3, 5, 11])
def test_interrupted_it_keeps_its_proposals_and_its_answer(tmp_path: Path, cut: int) -> None:
    whole, broken = (Groups(tmp_path / name, overrides=("confirm.seeds=1",)) for name in ("whole", "broken"))
    first = whole.session()
    whole.run(first)
    before = broken.session()
    broken.run(before, at_most=cut)
    before.next()
    before.flush()
    after = broken.session()
    broken.run(after)
    assert broken.events() == whole.events() and len(whole.events()) > 20
    assert {**broken.answer(after), "cost": None} == {**whole.answer(first), "cost": None}


def test_an_answer_that_cannot_be_confirmed_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Groups(tmp_path)
    agenda = world.session()
    monkeypatch.setattr(RandomGroups, "select", lambda self, state, evidence: groups("da", "c"))
    with pytest.raises(SelectorError, match="b in none"):
        world.run(agenda)
    assert not any(isinstance(event, Selected) for event in read_events(tmp_path / "ledger"))


# What people see


def lift_of(low: float | None, high: float | None) -> dict[str, Any]:
    own = {"metric": "f1", "mean": 0.01, "low": low, "high": high, "seeds": 4}
    return {"metric": "mean", "mean": 0.01, "low": low, "high": high, "seeds": 4, "models": 4, "tasks": {"d": own}}


def content_of(lift: dict[str, Any] | None) -> dict[str, Any]:
    served_by = [
        {"tasks": ["d", "a"], "serves": ["d"]}, {"tasks": ["a", "c", "b"], "serves": ["a", "c", "b"]},
        {"tasks": ["c"], "serves": []},
    ]
    return {"groups": served_by, "lift": {"single_task": lift}, "report": {"d": {"f1": 0.5, "accuracy": 0.75}}}


@pytest.mark.parametrize(
    ("lift", "said"),
    [
        (None, ". Its gain over single task was not measured."),
        (lift_of(None, None), "of unknown certainty"),
        (lift_of(0.005, 0.015), ": a gain of +0.0100 on average over 1 tasks, 95 % interval +0.0050 to +0.0150, over"),
        (lift_of(-0.03, -0.01), ": a loss of"),
        (lift_of(-0.01, 0.03), ". No measurable gain over single task, which takes 4 models (+0.0100 on average"),
    ],
)
def test_the_sentence_says_what_to_serve_and_is_honest(lift: dict[str, Any] | None, said: str) -> None:
    sentence = groups_verdict(content_of(lift))
    assert sentence.startswith("Serve 2 models: d + a (for d); a + c + b") and said in sentence


def test_the_tables_show_every_model_and_every_task() -> None:
    printed = io.StringIO()
    Console(width=120, file=printed).print(Group(*groups_tables(content_of(lift_of(-0.01, 0.03)))))
    shown = printed.getvalue()
    assert "nothing: others do better" in shown and "f1 0.5000, accuracy 0.7500" in shown
    assert "-0.0100 … +0.0300" in shown


def test_a_line_names_the_groups() -> None:
    assert choice(groups("da", "cb")) == "d + a | c + b"
    assert choice(Selection("mixture", ("d", "a"))) == "d + a"


# The study file and the ledger


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.early_stopping=asha", "training.early_stopping"),
        ("training.match=primary_examples", "training.match"),
        ("confirm.leave_one_out=true", "confirm.leave_one_out"),
        ("search_seeds=2", "search_seeds"),
        ("selector=[random_groups, random_groups]", "selector"),
        ("selector=random_subset", "selector"),
    ],
)
def test_what_needs_a_primary_is_refused(override: str, key: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        parse_study(STUDY, "study.yaml", Path(), (override,))
    assert [mistake.key for mistake in caught.value.mistakes] == [key]
    if key == "selector" and "subset" in override:
        assert "groups are answered by: random_groups" in str(caught.value)


def test_the_number_of_models_belongs_to_the_question_and_older_ledgers_do_not_name_it() -> None:
    base = load_base(ModelOptions())

    def fingerprint(*overrides: str) -> dict[str, str]:
        return fingerprint_of(parse_study(STUDY, "study.yaml", Path(), overrides), {}, base)

    two, three = fingerprint(), fingerprint("models=3")
    assert {key for key in two if two[key] != three[key]} == {"objective"}
    assert "objective" not in fingerprint("objective=null", "models=null", "primary=d", "selector=random_subset")


def test_a_plan_counts_every_model(small: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.home)
    asked = ["primary=", "objective=groups", "models=2", "selector=random_groups", "confirm.controls=[single_task]"]
    settings = [word for one in asked for word in ("--set", one)]
    planned = CliRunner().invoke(cli.main, ["plan", "study.yaml", "--json", *settings])
    assert planned.exit_code == 0, planned.output
    selection, single = json.loads(planned.stdout)["confirm"]
    assert (selection["missing"], selection["tasks"], selection["groups"]) == (2, None, None)
    assert (single["missing"], single["groups"]) == (3, [["moods"], ["echoes"], ["noises"]])
    shown = CliRunner().invoke(cli.main, ["plan", "study.yaml", *settings])
    assert "moods | echoes | noises" in shown.output
    checked = CliRunner().invoke(cli.main, ["validate", "study.yaml", *settings])
    assert "at least 5 (5 to confirm, 0 to search)" in checked.output


# The selector


def test_random_groups_cover_every_task_near_equally_until_there_are_no_others() -> None:
    selector, asked = RandomGroups(groupings=100), problem(models=2)
    story = tell_story(selector, asked, Training({}, noise=0.1), trials=50)
    assert isinstance(story.moments[-1].reply, Done) and len(story.proposals) == 2 * 3        # two and two of four
    pairs = [frozenset(proposal.tasks) for proposal in story.proposals]
    assert len(set(pairs)) == 6 and all(not a & b for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    for moment in story.moments:
        check_selection(asked, moment.selection)
    odd = RandomGroups().select(RandomGroups().start(problem(models=3)), {})
    assert sorted(len(group["tasks"]) for group in odd.groups or ()) == [1, 1, 2]


def test_the_best_grouping_is_the_one_whose_tasks_do_best_on_average_and_failures_do_not_count() -> None:
    selector = RandomGroups(groupings=3)
    state = selector.start(replace(problem(models=2), tasks=problem().tasks[:3]))
    drawn = []
    for number, score in enumerate([0.5, 0.9, 0.9, 0.3, 0.99, None]):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        drawn.append(proposal.tasks)
        # Pairs get the first score of a grouping, single tasks the second.
        state = selector.proposed(state, number, proposal)
        state = selector.told(state, number, Outcome(score, why=None if score else "error"))
    means = [
        (len(a) * x + len(b) * y) / 3 for a, b, x, y in ((*drawn[0:2], 0.5, 0.9), (*drawn[2:4], 0.9, 0.3))
    ]
    best = int(np.argmax(means))
    chosen = selector.select(state, {})
    assert [tuple(group["tasks"]) for group in chosen.groups or ()] == drawn[2 * best : 2 * best + 2]
    assert chosen.belief == {"best_score": pytest.approx(max(means))}


def test_with_a_primary_its_own_group_is_trained_and_answers() -> None:
    asked = replace(problem(), primary="a", models=None)
    story = tell_story(RandomGroups(groupings=100), asked, Training({"d": 0.1}), trials=50)
    assert all("a" in proposal.tasks for proposal in story.proposals)
    assert sorted(map(len, (p.tasks for p in story.proposals))) == [1, 2, 2, 2]    # three groups of four tasks
    assert story.moments[-1].selection.tasks == ("d", "a")


@pytest.mark.slow
def test_a_real_study_of_groups_is_killed_and_goes_on_to_its_answer(small: StudyRun) -> None:
    asked = ["primary=", "objective=groups", "models=2", "selector={name: random_groups, groupings: 2}",
             "budget.trials=14", "training.sampling=proportional"]
    settings = [word for one in asked for word in ("--set", one)]
    process = small.start("run", "study.yaml", *settings)
    small.wait_for(lambda: small.told >= 5 and small.trains(), process)
    kill(process)
    said = small.finish("resume", str(small.folder))
    assert "Serve " in said and "of unknown certainty" in said and "Each task's own lift over" in said
    assert "verified" in small.finish("status", str(small.folder), "--verify")
    content = json.loads((small.folder / "selection.json").read_text())
    assert sorted(task for group in content["groups"] for task in group["serves"]) == ["echoes", "moods", "noises"]
    lift = content["lift"]["single_task"]
    assert (lift["models"], lift["seeds"], set(lift["tasks"])) == (3, 1, {"moods", "echoes", "noises"})
    assert lift["mean"] == pytest.approx(np.mean([own["mean"] for own in lift["tasks"].values()]))
    shown = small.finish("status", str(small.folder))
    assert "selected: " in shown and " | " in shown and "best so far" not in shown
