"""What a bandit came to believe of each task, round by round: folded again from the rounds that the ledger holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.report.blocks import Block, Cell, Picture, Table, number
from auxtune.orchestrator.report.drawing import SERIES, colour, draw_svg
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.stages import beliefs, under_way
from auxtune.selectors.kit.rounds import read_inner
from auxtune.selectors.methods.beta_bandit import BanditState, BetaBandit
from auxtune.selectors.methods.thompson import TrialsState
from auxtune.selectors.protocol import Outcome, Problem, Proposal
from auxtune.selectors.registry import make_inner

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROWS = 16  # tasks drawn at the most: a page's height
_COUNTED = {"utility", "interval", "better", "level", "rounds", "overall"}  # a belief in which rewards are counted
_ALL_REWARDS = (
    "Nothing is forgotten in it, other than in the posterior that chooses the next round. The band is the 95 % "
    "interval over all runs, the line across the rate of rewards of all tasks' rounds."
)
_FORGETS = "Between its pulls a task falls back to 0.5, where nothing is known."

Means: TypeAlias = Callable[[BanditState], dict[str, float]]


@dataclass(frozen=True)
class Pull:
    """One round: which task, whether it was rewarded (``None``: it taught nothing), and every mean after it."""

    task: str
    rewarded: bool | None
    means: Mapping[str, float]


@dataclass(frozen=True)
class History:
    """The pulls of one bandit, from the first."""

    label: str
    pulls: tuple[Pull, ...]


def bandit_blocks(material: Material) -> Iterator[Block]:
    """The bandit's belief by round, a row per task and a line per run, and in the end; nothing where none played.

    What is drawn is what the answer was read from: all rewards so far or, where that is all there is in ``belief``,
    the posterior of the moment.
    """
    belief = next((each for _, each in beliefs(material) if each.keys() >= _COUNTED), {})
    ends: Mapping[str, Sequence[float]] = belief.get("interval", {})
    means = _rates if ends else _posterior_means
    histories = [*_inside_runs(material, means), *_by_trials(material, means)]
    if not histories:
        return
    last = {task: sum(h.pulls[-1].means.get(task, 0.0) for h in histories) for task in histories[0].pulls[-1].means}
    order = belief.get("utility") or last
    tasks = sorted(last, key=lambda task: -order.get(task, 0.0))
    shown = tasks[:_ROWS]
    said = "; ".join(f"{task} ends at {last[task] / len(histories):.2f}" for task in shown)
    left = f" The {len(tasks) - _ROWS} tasks that ended lowest are left out." if len(tasks) > _ROWS else ""
    overall = belief["overall"] if ends else None
    svg = draw_svg(
        "bandit",
        0.7 + 0.62 * len(shown),
        f"Belief of a bandit, mean by task: {said}",
        lambda figure: _draw(figure, histories, shown, ends, overall),
    )
    yield Picture(
        svg,
        "The bandit's belief that a round of a task does not hurt the primary: the mean of its Beta posterior after "
        "each round, a line per run. A filled dot is a pull that was rewarded, a hollow one a pull that was not. "
        f"{_ALL_REWARDS if ends else _FORGETS}{left}",
    )
    if ends:
        yield _table(belief, tasks)


def _table(belief: Mapping[str, Any], tasks: Sequence[str]) -> Table:
    """The same numbers as in ``selection.json``."""
    rows: list[tuple[Cell, ...]] = [
        (
            task,
            number(belief["rounds"][task], ","),
            number(belief["utility"][task], ".3f"),
            *(number(end, ".3f") for end in belief["interval"][task]),
            number(belief["better"][task], ".1%"),
        )
        for task in tasks
    ]
    columns = ("task", "rounds", "utility", "low", "high", "better than all others'")
    level = f"beyond the best two a task is kept from {belief['level']:.0%} on"
    return Table(f"What the rounds say of each task, with 95 % intervals; {level}", columns, tuple(rows))


def _draw(
    figure: Figure,
    histories: Sequence[History],
    tasks: Sequence[str],
    ends: Mapping[str, Sequence[float]],
    overall: float | None,
) -> None:
    rows = figure.subplots(len(tasks), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, task in zip(rows, tasks, strict=True):
        axes.axhline(0.5 if overall is None else overall, color=colour("muted"), linewidth=0.8)
        if task in ends:
            axes.axhspan(*ends[task], color=colour("rule"), alpha=0.5, linewidth=0)
        for place, history in enumerate(histories):
            _draw_run(axes, history, task, colour(SERIES[place % len(SERIES)]))
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=8)
        axes.set_ylabel(task, rotation=0, ha="right", va="center", labelpad=14)
        axes.spines["bottom"].set_visible(axes is rows[-1])
        axes.tick_params(axis="x", length=0 if axes is not rows[-1] else 3)
        axes.grid(visible=False)
    rows[-1].set_xlabel("round")
    if len(histories) > 1:
        handles, labels = rows[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=min(6, len(histories)), fontsize=8.5)


def _draw_run(axes: Axes, history: History, task: str, shade: str) -> None:
    """One run's belief in one task, with that task's pulls."""
    means = [pull.means.get(task, 0.5) for pull in history.pulls]
    axes.plot(range(1, len(means) + 1), means, color=shade, linewidth=1.1, label=history.label)
    for rewarded in (True, False):
        at = [n for n, p in enumerate(history.pulls) if p.task == task and p.rewarded is rewarded]
        axes.plot(
            [n + 1 for n in at],
            [means[n] for n in at],
            "o",
            markersize=3.4,
            color=shade,
            markerfacecolor=shade if rewarded else colour("paper"),
            markeredgewidth=0.9,
            linestyle="none",
        )


def _inside_runs(material: Material, means: Means) -> Iterator[History]:
    """Of each run that a bandit steered from inside, in the order of the trials."""
    for trial in material.accounts.of_selector:
        if trial.proposal.inner is None or trial.told is None or not trial.told.outcome.rounds:
            continue
        inner, problem = read_inner(material.problem, trial.proposal)
        bandit = make_inner(inner.name, inner.options)
        if isinstance(bandit, BetaBandit):
            pulls = tuple(_rounds(bandit, problem, trial.told.outcome.rounds, means))
            yield History(f"run of trial {trial.id:04d}", pulls)


def _rounds(bandit: BetaBandit, problem: Problem, rounds: Sequence[tuple[str, float]], means: Means) -> Iterator[Pull]:
    state = bandit.start(problem)
    for place, (task, score) in enumerate(rounds):
        before = state
        state = bandit.told(bandit.proposed(state, place, Proposal((task,))), place, Outcome(score))
        rewarded = None if before.last is None else score >= before.last
        yield Pull(task, rewarded, means(state))


def _by_trials(material: Material, means: Means) -> Iterator[History]:
    """Of each bandit whose pulls are trials, in the order in which they ended."""
    pulls: dict[str, list[Pull]] = {}
    fold = material.fresh_fold()
    for event in material.events:
        before = {each.stage: each for each in under_way(material.selector, fold.state)}
        fold.add(event)
        if not isinstance(event, Told):
            continue
        for after in under_way(material.selector, fold.state):
            was = before.get(after.stage)
            if was is None or not isinstance(was.state, TrialsState) or not isinstance(after.state, TrialsState):
                continue
            for ended in was.state.pending.keys() - after.state.pending.keys():
                task = was.state.pending[ended].task
                learned = _rewarded(was.state.bandit, after.state.bandit)
                pulls.setdefault(after.stage, []).append(Pull(task, learned, means(after.state.bandit)))
    for place, each in enumerate(pulls.values(), start=1):
        yield History(f"search {place}" if len(pulls) > 1 else "pulls", tuple(each))


def _rewarded(before: BanditState, after: BanditState) -> bool | None:
    """What a pull was worth; ``None`` where it taught nothing."""
    if (before.won, before.lost) == (after.won, after.lost):
        return None
    return before.won != after.won


def _rates(state: BanditState) -> dict[str, float]:
    return state.rates.utility


def _posterior_means(state: BanditState) -> dict[str, float]:
    return state.means
