"""Which arm an answer recommends, and the sentence that says so: no control that is better for sure is passed over."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.lift import Lift, MeanLift
from auxtune.orchestrator.answer.recommendation import Recommendation, correct_level, recommend
from auxtune.orchestrator.answer.verdict import describe_lift, format_interval, write_verdict

ALONE, PAIR = {"mood": 1.0}, {"mood": 0.5, "stars": 0.5}


def lift(mean: float, half: float | None, seeds: int = 4, **more: Any) -> dict[str, Any]:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"metric": "accuracy", "mean": mean, "low": low, "high": high, "seeds": seeds, **more}


def content(weights: dict[str, float], **lifts: dict[str, Any] | None) -> Answer:
    """An answer of an earlier version: without ``recommended``."""
    return Answer.from_json({"primary": "mood", "weights": weights, "groups": None, "instances": None, "lift": lifts})


NOTHING = {**lift(0.0, 0.0)}  # how earlier versions wrote the same training


@pytest.mark.parametrize(
    ("answer", "by"),
    [
        (content(ALONE, single_task=NOTHING, all_tasks=lift(-0.142, 0.03)), "0.1420"),
        (content(PAIR, single_task=lift(0.08, 0.02), all_tasks=lift(-0.05, 0.02)), "0.0500"),
        (content(PAIR, single_task=lift(-0.03, 0.01), all_tasks=lift(-0.2, 0.03)), "0.2000"),
        (content(PAIR, single_task=lift(0.01, 0.03), all_tasks=lift(-0.17, 0.03)), "0.1700"),
    ],
)
def test_a_control_that_is_better_for_sure_is_what_to_train(answer: Answer, by: str) -> None:
    assert answer.recommendation == Recommendation("all_tasks", "control")
    said = write_verdict(answer)
    assert said.startswith("Train all tasks in equal shares: all_tasks is better than what was chosen (mood ")
    assert f"by {by} accuracy, 95 % interval 0." in said
    assert "mood alone:" not in said and "gain" not in said and "hurts" not in said


def test_of_several_better_controls_the_best_mean_is_taken() -> None:
    lifts = {"single_task": lift(-0.09, 0.02), "random_subset": lift(-0.12, 0.2), "all_tasks": lift(-0.06, 0.01)}
    best = write_verdict(content(PAIR, **lifts))  # random_subset has a better mean, which is not sure
    assert best.startswith("Train mood alone: single_task is better than what was chosen (mood with stars) by 0.0900")


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("size_sqrt", "Train all tasks in shares by the square roots of their rows"),
        ("size_proportional", "Train all tasks in shares by their rows"),
        ("same_tasks_equal", "Train mood with stars in equal shares"),
        ("random_subset", "Train mood with auxiliaries at random rather than"),
    ],
)
def test_every_control_says_what_to_train(control: str, said: str) -> None:
    assert write_verdict(content(PAIR, **{control: lift(-0.1, 0.02)})).startswith(f"{said}")


def test_all_controls_count_together_and_what_is_not_sure_then_is_said() -> None:
    one = content(PAIR, single_task=lift(0.08, 0.02), all_tasks=lift(-0.03, 0.029))
    assert one.recommendation.why == "gain"  # at 95 % alone all_tasks is better, of two it is not sure
    said = write_verdict(one)
    assert "a gain over single task of +0.0800" in said
    assert "But all_tasks did better by 0.0300 accuracy, 95 % interval 0.0010 to 0.0590." in said
    assert said.endswith("With all controls counted together (97.5 % each) that is not sure.")
    alone = content(PAIR, all_tasks=lift(-0.03, 0.029))
    assert alone.recommendation == Recommendation("all_tasks", "control")


def test_a_gain_that_is_not_sure_with_all_controls_is_not_called_one() -> None:
    said = write_verdict(content(PAIR, single_task=lift(0.03, 0.029), all_tasks=lift(0.01, 0.05)))
    assert "gain" not in said and "+0.0300 accuracy, 95 % interval +0.0010 to +0.0590, over single task" in said
    assert "not sure" in said


def test_the_same_training_is_no_comparison_and_is_said() -> None:
    same = lift(0.0, None, same_training=True)
    answer = content(ALONE, single_task=same, all_tasks=lift(-0.03, 0.029))
    assert answer.recommendation.arm == "all_tasks"  # one comparison, so nothing to correct for
    shown, older = answer.lift["single_task"], content(ALONE, single_task=NOTHING).lift["single_task"]
    assert shown is not None and older is not None
    assert format_interval(shown) == format_interval(older) == "the same training"
    assert describe_lift(shown, "accuracy") == ("–", "the same training", "4")
    said = write_verdict(content(ALONE, single_task=same, all_tasks=lift(0.03, 0.029)))
    assert said == (
        "Train mood alone: no auxiliary was chosen. That is the same training as single_task, so there is no lift over "
        "it."
    )
    assert content(ALONE, single_task=same).recommendation == Recommendation("selection", "same_training")


def test_too_few_seeds_recommend_no_control() -> None:
    answer = content(PAIR, single_task=lift(0.08, None, seeds=2), all_tasks=lift(-0.4, None, seeds=2))
    assert answer.recommendation == Recommendation("selection", "uncertain")
    said = write_verdict(answer)
    assert said.startswith("Train mood with stars: +0.0800 accuracy over single task, of unknown certainty (fewer")
    assert "But all_tasks did better by 0.4000 accuracy. This is of unknown certainty" in said
    unmeasured = content(PAIR, single_task=None)
    assert unmeasured.recommendation.why == "unmeasured" and "was not measured" in write_verdict(unmeasured)


def test_what_is_stored_decides() -> None:
    answer = content(PAIR, single_task=lift(0.08, 0.02), all_tasks=lift(-0.03, 0.029))
    stored = {**answer.as_json(), "recommended": {"arm": "all_tasks", "why": "control", "level": 0.975}}
    assert write_verdict(Answer.from_json(stored)).startswith("Train all tasks in equal shares")
    assert "a gain" in write_verdict(answer)


def test_an_old_answer_recommends_nothing_that_its_own_intervals_would_not() -> None:
    """Widening by Student's ratio is at least what correcting both parts of the interval comes to."""
    spread, rows, seeds, level = 0.01, 0.02, 4, 0.9875
    t, z = (lambda p: stats.t.ppf(p, seeds - 1)), stats.norm.ppf
    shown = ((t(0.975) * spread) ** 2 + (z(0.975) * rows) ** 2) ** 0.5
    exact = ((t((1 + level) / 2) * spread) ** 2 + (z((1 + level) / 2) * rows) ** 2) ** 0.5
    widened = shown * t((1 + level) / 2) / t(0.975)
    others = {name: lift(0.1, 0.02) for name in ("single_task", "random_subset", "same_tasks_equal")}
    between, beyond = (content(PAIR, **others, all_tasks=lift(-mean, shown)) for mean in (exact + 1e-4, widened + 1e-4))
    assert exact + 1e-4 < widened
    assert between.recommendation.arm == "selection" and beyond.recommendation.arm == "all_tasks"


def test_the_level_is_bonferronis_over_what_was_compared() -> None:
    one, same = Lift("f1", 0.1, 0.0, 0.2, 4), Lift("f1", 0.0, None, None, 4, same_training=True)
    assert correct_level({"a": one, "b": one, "c": one, "d": one}) == pytest.approx(0.9875)
    assert correct_level({"a": one, "b": same, "c": None}) == pytest.approx(0.95) == correct_level({})


# Groups


def grouped(mean: float, half: float | None, models: int) -> dict[str, Any]:
    return {**lift(mean, half), "metric": "mean", "models": models, "tasks": dict.fromkeys("abc", lift(mean, half))}


def groups_content(**lifts: dict[str, Any] | None) -> Answer:
    served = [{"tasks": ["a", "b"], "serves": ["a", "b"]}, {"tasks": ["c"], "serves": ["c"]}]
    return Answer.from_json({"primary": None, "weights": None, "groups": served, "models": 2, "lift": lifts})


def test_groups_that_a_control_beats_say_so_with_its_models() -> None:
    said = write_verdict(groups_content(single_task=grouped(0.03, 0.01, 3), all_tasks=grouped(-0.04, 0.01, 1)))
    assert said == (
        "Serve 1 model of all tasks in equal shares: all_tasks is better than what was chosen (2 models: a + b; c) by "
        "0.0400 on average over 3 tasks, 95 % interval 0.0300 to 0.0500."
    )


def test_more_models_than_may_be_served_are_a_loss_and_no_recommendation() -> None:
    answer = groups_content(single_task=grouped(-0.03, 0.01, 3), all_tasks=grouped(0.05, 0.01, 1))
    assert answer.recommendation == Recommendation("selection", "more_models")
    said = write_verdict(answer)
    assert said.startswith("Serve 2 models: a + b; c: a loss of -0.0300 on average over 3 tasks")
    assert said.endswith("against single task, which takes 3 models where at most 2 may be served.")
    three = {"single_task": MeanLift("mean", -0.03, -0.04, -0.02, 4, models=3, tasks={})}
    assert recommend(three, models=3).arm == "single_task" and recommend(three, models=2).arm == "selection"


def test_groups_of_one_task_each_are_single_tasks_own() -> None:
    same = {**grouped(0.0, None, 2), "same_training": True}
    said = write_verdict(groups_content(single_task=same))
    assert said.endswith("That is the same training as single_task, so there is no lift over it.")
