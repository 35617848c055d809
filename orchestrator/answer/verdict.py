"""The answer in words: what the terminal, the page and MLflow begin with.

Which arm is best is decided elsewhere (``recommendation``); here it is said, with what takes away from it: a lift whose
95 % interval excludes 0, and does not once all controls are counted together, is never passed over in silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from auxtune.orchestrator.answer.answer import Answer, Contribution, Group
from auxtune.orchestrator.answer.cost import COST_TOLERANCE, StudyCost
from auxtune.orchestrator.answer.lift import FEWEST_SEEDS, Lift, MeanLift
from auxtune.orchestrator.answer.recommendation import SINGLE, correct_level, widen_to
from auxtune.orchestrator.planning.arms import EQUAL_COST, SELECTION
from auxtune.orchestrator.record.accounts import Accounts

SAME = "the same training"
NEEDS_SEEDS = f"needs {FEWEST_SEEDS} seeds"
_UNSURE = f"of unknown certainty (fewer than {FEWEST_SEEDS} seeds)"
# What to train where a control won: with a primary, and in groups.
_TRAIN = {
    "single_task": "Train {primary} alone",
    "all_tasks": "Train all tasks in equal shares",
    "size_proportional": "Train all tasks in shares by their rows",
    "size_sqrt": "Train all tasks in shares by the square roots of their rows",
    "same_tasks_equal": "Train {primary} with {chosen} in equal shares",
    "random_subset": "Train {primary} with auxiliaries at random rather than with those that were chosen",
    EQUAL_COST: "Train the best of random mixtures rather than what the search chose",
}
_SERVE = {
    "single_task": "Serve {models}, one per task",
    "all_tasks": "Serve {models} of all tasks in equal shares",
    "size_proportional": "Serve {models} of all tasks in shares by their rows",
    "size_sqrt": "Serve {models} of all tasks in shares by the square roots of their rows",
    "same_tasks_equal": "Serve {models} of the chosen groups in equal shares",
    "random_subset": "Serve {models} of groups at random rather than those that were chosen",
}


def write_verdict(answer: Answer) -> str:
    """The answer in a sentence or two, with its doubt."""
    best = answer.recommendation
    if best.why == "control":
        return " ".join([_describe_better(answer, best.arm), *_judge_search(answer)])
    said = _judge_groups(answer) if answer.primary is None else _judge_primary(answer, answer.primary)
    return " ".join([said, *_describe_rival(answer), *_judge_search(answer)])


def describe_lift(lift: Lift | None, unit: str = "") -> tuple[str, str, str]:
    """A lift in a table: its size in ``unit``, its interval, its seeds."""
    if lift is None:
        return "–", "not measured", "0"
    if lift.same_training:
        return "–", SAME, str(lift.seeds)
    return f"{lift.mean:+.4f} {unit}".strip(), format_interval(lift), str(lift.seeds)


def find_other_arm(answer: Answer) -> str | None:
    """The control that is recommended instead of the selection; ``None`` where the selection is."""
    best = answer.recommendation.arm
    return None if best == SELECTION else best


def format_interval(gain: Lift | Contribution, name: str = "") -> str:
    """The bounds of a lift or contribution, with a ``name`` before them, or why there are none."""
    if gain.same_training:
        return SAME
    return NEEDS_SEEDS if gain.low is None else f"{name}{gain.low:+.4f} … {gain.high:+.4f}"


def list_control_doubts(accounts: Accounts) -> Iterator[str]:
    """What takes away from a control that searches by itself: its failures, and a limit that ended it early."""
    ended, trials = accounts.control_selected.get(EQUAL_COST), accounts.in_phase("control")
    if failed := sum(trial.status == "failed" for trial in trials):
        yield f"{failed} of {len(trials)} trials of {EQUAL_COST} failed; it rests on the others."
    if ended is not None and ended.exhausted is not None:
        yield f"budget.{ended.exhausted} ended {EQUAL_COST} before it had cost as much as the search."


def _describe_better(answer: Answer, arm: str) -> str:
    """A control is better for sure: what to train, and by how much it is better."""
    lift, primary = answer.lift[arm], answer.primary
    assert lift is not None  # of one that was not measured nothing is sure
    how = (_TRAIN if primary is not None else _SERVE).get(arm, f"Train {arm}")
    models = _count_models(lift.models if isinstance(lift, MeanLift) else 1)
    how = how.format(primary=primary, chosen=", ".join(answer.auxiliaries), models=models)
    return f"{how}: {arm} is better than what was chosen ({_describe_choice(answer)}) by {_describe_loss(lift)}."


def _describe_loss(lift: Lift) -> str:
    """How much better than the selection a control is, with the interval if it has one."""
    size = f"{-lift.mean:.4f} {_name_unit(lift)}"
    if lift.low is None or lift.high is None:
        return size
    return f"{size}, 95 % interval {-lift.high:.4f} to {-lift.low:.4f}"


def _judge_primary(answer: Answer, primary: str) -> str:
    lift, together = answer.lift.get(SINGLE), f"Train {_describe_choice(answer)}"
    if not answer.auxiliaries and not answer.instances:
        same = "" if lift is None else f" That is {SAME} as {SINGLE}, so there is no lift over it."
        return f"Train {primary} alone: no auxiliary was chosen.{same}"
    if lift is None:
        return f"{together}. Its gain over single task was not measured."
    size = f"{lift.mean:+.4f} {lift.metric}"
    if lift.low is None or lift.high is None:
        return f"{together}: {size} over single task, {_UNSURE}."
    found = f"{size}, 95 % interval {lift.low:+.4f} to {lift.high:+.4f}"
    if answer.recommendation.why == "gain":
        return f"{together}: a gain over single task of {found}."
    if lift.low > 0 or lift.high < 0:
        return f"{together}: {found}, over single task. {_describe_doubt(answer)}"
    return f"No measurable gain over single task ({found}). The choice was {_describe_choice(answer)}."


def _judge_groups(answer: Answer) -> str:
    together, lift, why = f"Serve {_describe_choice(answer)}", answer.lift.get(SINGLE), answer.recommendation.why
    if lift is None:
        return f"{together}. Its gain over single task was not measured."
    if why == "same_training":
        return f"{together}. That is {SAME} as {SINGLE}, so there is no lift over it."
    models = _count_models(lift.models if isinstance(lift, MeanLift) else 1)
    size, alone = f"{lift.mean:+.4f} {_name_unit(lift)}", f"single task, which takes {models}"
    if lift.low is None or lift.high is None:
        return f"{together}: {size} over {alone}, {_UNSURE}."
    found = f"{size}, 95 % interval {lift.low:+.4f} to {lift.high:+.4f}"
    if why == "gain":
        return f"{together}: a gain of {found}, over {alone}."
    if why == "more_models":
        limit = f" where at most {answer.models} may be served" if answer.models else ""
        return f"{together}: a loss of {found}, against {alone}{limit}."
    if lift.low > 0 or lift.high < 0:
        return f"{together}: {found}, over {alone}. {_describe_doubt(answer)}"
    return f"{together}. No measurable gain over {alone} ({found})."


def _describe_rival(answer: Answer) -> Iterator[str]:
    """The control that did best, if it did better than the selection, but not for sure."""
    lifts = answer.measured_lifts.items()
    others = {name: lift for name, lift in lifts if name not in (SINGLE, EQUAL_COST) and lift.mean < 0}
    shown = {name: lift for name, lift in others.items() if lift.high is None or lift.high < 0}
    if shown:
        name = min(shown, key=lambda control: shown[control].mean)
        doubt = f"This is {_UNSURE}." if shown[name].low is None else _describe_doubt(answer)
        yield f"But {name} did better by {_describe_loss(shown[name])}. {doubt}"


def _judge_search(answer: Answer) -> Iterator[str]:
    """Whether the search beat random mixtures at its own cost, where that was asked and is not said already."""
    if EQUAL_COST not in answer.lift or answer.recommendation.arm == EQUAL_COST:
        return
    lift, others = answer.lift[EQUAL_COST], f"random mixtures at {_describe_control_cost(answer.cost)}"
    if lift is None:
        yield f"Whether the search was worth its cost was not measured: {EQUAL_COST} came to no result."
        return
    if lift.same_training:
        yield f"The search gained nothing over {others}: they came to {SAME}."
        return
    size = f"{lift.mean:+.4f} {lift.metric}"
    if lift.low is None or lift.high is None:
        yield f"The search against {others}: {size}, {_UNSURE}."
        return
    found = f"{size}, 95 % interval {lift.low:+.4f} to {lift.high:+.4f}"
    corrected = widen_to(answer.lift)[EQUAL_COST]
    if corrected is not None and corrected.low is not None and corrected.low > 0:
        yield f"The search beat {others} by {found}."
    elif lift.low > 0:
        yield f"The search did better than {others} by {found}. {_describe_doubt(answer)}"
    elif lift.high < 0:
        yield f"The search did worse than {others} by {_describe_loss(lift)}. {_describe_doubt(answer)}"
    else:
        yield f"No measurable gain of the search over {others} ({found})."


def _describe_control_cost(cost: StudyCost) -> str:
    """The cost of the control that searches by itself, as a share of the search's where it is not about the same."""
    share = cost.control_share
    return "equal cost" if share is None or abs(share - 1) <= COST_TOLERANCE else f"{share:.0%} of its cost"


def _describe_doubt(answer: Answer) -> str:
    """The doubt about a 95 % interval that excludes 0, once all comparisons must hold together."""
    return f"With all controls counted together ({100 * correct_level(answer.lift):.4g} % each) that is not sure."


def _describe_choice(answer: Answer) -> str:
    """The choice: the primary and its auxiliaries, or models with their tasks."""
    if answer.primary is None:
        models = answer.served_groups
        return f"{_count_models(len(models))}: {'; '.join(map(_describe_group, models))}"
    chosen = answer.auxiliaries
    return f"{answer.primary} with {', '.join(chosen)}" if chosen else f"{answer.primary} alone"


def _name_unit(lift: Lift) -> str:
    return f"on average over {len(lift.tasks)} tasks" if isinstance(lift, MeanLift) else lift.metric


def _count_models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _describe_group(group: Group) -> str:
    """A model's tasks, and which of them it serves if it does not serve all."""
    tasks = " + ".join(group.tasks)
    return tasks if group.serves == group.tasks else f"{tasks} (for {', '.join(group.serves)})"
