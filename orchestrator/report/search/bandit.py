"""A bandit's belief in each task, round by round: folded again from the rounds that the ledger holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.report.blocks import Block, Cell, Picture, Table, number
from auxtune.orchestrator.report.drawing import SERIES, draw_svg, encode_colour
from auxtune.orchestrator.report.material import Material
from auxtune.selectors.beliefs import CountedRewards, Utilities
from auxtune.selectors.extensions import Learns, Lesson, find_active_parts
from auxtune.selectors.kit.rounds import read_inner
from auxtune.selectors.protocol import Outcome, Proposal
from auxtune.selectors.registry import make_inner

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROWS = 16  # tasks drawn at the most: a page's height
_ALL_REWARDS = (
    "Nothing is forgotten in it, other than in the posterior that chooses the next round. The band is the 95 % "
    "interval over all runs, the line across the rate of rewards of all tasks' rounds."
)
_FORGETS = "Between its pulls a task falls back to 0.5, where nothing is known."


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


def list_bandit_blocks(material: Material) -> Iterator[Block]:
    """The bandit's belief by round, a row per task and a line per run, and in the end; nothing where none played.

    The means are those that the answer was read from: of all rewards so far where these count, else of the posterior
    of the moment.
    """
    believed = [each for _, each in material.beliefs if isinstance(each, Utilities) and each.counted is not None]
    utility, counted = (believed[0].values, believed[0].counted) if believed else ({}, None)
    histories = list_histories(material, forgets=counted is None)
    if not histories:
        return
    last = {task: sum(h.pulls[-1].means.get(task, 0.0) for h in histories) for task in histories[0].pulls[-1].means}
    order = utility or last
    tasks = sorted(last, key=lambda task: -order.get(task, 0.0))
    shown = tasks[:_ROWS]
    said = "; ".join(f"{task} ends at {last[task] / len(histories):.2f}" for task in shown)
    left = f" The {len(tasks) - _ROWS} tasks that ended lowest are left out." if len(tasks) > _ROWS else ""
    svg = draw_svg(
        "bandit",
        0.7 + 0.62 * len(shown),
        f"Belief of a bandit, mean by task: {said}",
        lambda figure: _draw(figure, histories, shown, counted),
    )
    yield Picture(
        svg,
        "The bandit's belief that a round of a task does not hurt the primary: the mean of its Beta posterior after "
        "each round, a line per run. A filled dot is a pull that was rewarded, a hollow one a pull that was not. "
        f"{_FORGETS if counted is None else _ALL_REWARDS}{left}",
    )
    if counted is not None:
        yield _list_rounds(utility, counted, tasks)


def list_histories(material: Material, forgets: bool) -> list[History]:
    """Every bandit's pulls with the means of its posterior, which ``forgets``, or of all rewards so far."""
    lessons = {**dict(_replay_runs(material)), **_replay_trials(material)}
    return [
        History(label, tuple(Pull(e.task, e.rewarded, e.posterior if forgets else e.rates) for e in each))
        for label, each in lessons.items()
    ]


def _list_rounds(utility: Mapping[str, float], counted: CountedRewards, tasks: Sequence[str]) -> Table:
    """The same numbers as in ``selection.json``."""
    rows: list[tuple[Cell, ...]] = [
        (
            task,
            number(counted.rounds[task], ","),
            number(utility[task], ".3f"),
            *(number(end, ".3f") for end in counted.interval[task]),
            number(counted.better[task], ".1%"),
        )
        for task in tasks
    ]
    columns = ("task", "rounds", "utility", "low", "high", "better than all others'")
    level = f"beyond the best two a task is kept from {counted.level:.0%} on"
    return Table(f"What the rounds say of each task, with 95 % intervals; {level}", columns, tuple(rows))


def _draw(figure: Figure, histories: Sequence[History], tasks: Sequence[str], counted: CountedRewards | None) -> None:
    rows = figure.subplots(len(tasks), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, task in zip(rows, tasks, strict=True):
        axes.axhline(0.5 if counted is None else counted.overall, color=encode_colour("muted"), linewidth=0.8)
        if counted is not None and task in counted.interval:
            axes.axhspan(*counted.interval[task], color=encode_colour("rule"), alpha=0.5, linewidth=0)
        for place, history in enumerate(histories):
            _draw_run(axes, history, task, encode_colour(SERIES[place % len(SERIES)]))
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
            markerfacecolor=shade if rewarded else encode_colour("paper"),
            markeredgewidth=0.9,
            linestyle="none",
        )


def _replay_runs(material: Material) -> Iterator[tuple[str, list[Lesson]]]:
    """The lessons of each run that a bandit steered from inside, in the order of the trials."""
    for trial in material.accounts.of_selector:
        if trial.proposal.inner is None or trial.told is None or not trial.told.outcome.rounds:
            continue
        inner, problem = read_inner(material.problem, trial.proposal)
        bandit = make_inner(inner.name, inner.options)
        if isinstance(bandit, Learns):
            lessons, state = [], bandit.start(problem)
            for place, (task, score) in enumerate(trial.told.outcome.rounds):
                before = bandit.proposed(state, place, Proposal((task,)))
                state = bandit.told(before, place, Outcome(score))
                if (lesson := bandit.learned(before, state)) is not None:
                    lessons.append(lesson)
            yield f"run of trial {trial.id:04d}", lessons


def _replay_trials(material: Material) -> dict[str, list[Lesson]]:
    """The lessons of each bandit whose pulls are trials, in the order in which they ended."""
    lessons: dict[str, list[Lesson]] = {}
    fold = material.fresh_fold()
    for event in material.events:
        before = {part.stage: part for part in find_active_parts(material.selector, fold.state)}
        fold.add(event)
        if not isinstance(event, Told):
            continue
        for after in find_active_parts(material.selector, fold.state):
            was = before.get(after.stage)
            if was is None or not isinstance(after.selector, Learns):
                continue
            if (lesson := after.selector.learned(was.state, after.state)) is not None:
                lessons.setdefault(after.stage, []).append(lesson)
    several = len(lessons) > 1
    return {f"search {place}" if several else "pulls": each for place, each in enumerate(lessons.values(), start=1)}
