"""What a bandit came to believe of each task, round by round: folded again from the rounds that the ledger holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.report.blocks import Block, Picture
from auxtune.orchestrator.report.drawing import SERIES, colour, drawn
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.stages import under_way
from auxtune.selectors.beta_bandit import BanditState, BetaBandit
from auxtune.selectors.protocol import Outcome, Problem, Proposal
from auxtune.selectors.registry import make_inner
from auxtune.selectors.rounds import inside
from auxtune.selectors.thompson import Thompson
from auxtune.selectors.thompson_trials import TrialsState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 16                                             # tasks drawn at the most: a page's height


@dataclass(frozen=True)
class Pull:
    """One round: which arm, whether it was rewarded (``None``: it taught nothing), and every mean after it."""

    arm: str
    rewarded: bool | None
    means: Mapping[str, float]


@dataclass(frozen=True)
class History:
    """The pulls of one bandit, from the first."""

    label: str
    pulls: tuple[Pull, ...]


def bandit_blocks(material: Material) -> Iterator[Block]:
    """The means of the posteriors by round, a row per task and a line per run; nothing where no bandit played."""
    histories = [*_inside_runs(material), *_by_trials(material)]
    if not histories:
        return
    last = {task: sum(h.pulls[-1].means.get(task, 0.0) for h in histories) for task in histories[0].pulls[-1].means}
    tasks = sorted(last, key=lambda task: -last[task])
    shown = tasks[:_ROWS]
    said = "; ".join(f"{task} ends at {last[task] / len(histories):.2f}" for task in shown)
    left = f" The {len(tasks) - _ROWS} tasks that ended lowest are left out." if len(tasks) > _ROWS else ""
    svg = drawn("bandit", 0.7 + 0.62 * len(shown), f"Posterior means of a bandit: {said}",
                lambda figure: _draw(figure, histories, shown))
    yield Picture(
        svg,
        "The bandit's belief that a round of a task does not hurt the primary: the mean of its Beta posterior after "
        "each round, a line per run. A filled dot is a pull that was rewarded, a hollow one a pull that was not. "
        f"Between its pulls a task falls back to 0.5, where nothing is known.{left}",
    )


def _draw(figure: Figure, histories: Sequence[History], tasks: Sequence[str]) -> None:
    rows = figure.subplots(len(tasks), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, task in zip(rows, tasks, strict=True):
        axes.axhline(0.5, color=colour("muted"), linewidth=0.8)
        for place, history in enumerate(histories):
            shade = colour(SERIES[place % len(SERIES)])
            means = [pull.means.get(task, 0.5) for pull in history.pulls]
            rounds = range(1, len(means) + 1)
            axes.plot(rounds, means, color=shade, linewidth=1.1, label=history.label)
            for rewarded in (True, False):
                at = [n for n, p in enumerate(history.pulls) if p.arm == task and p.rewarded is rewarded]
                axes.plot(
                    [n + 1 for n in at], [means[n] for n in at], "o", markersize=3.4, color=shade,
                    markerfacecolor=shade if rewarded else colour("paper"), markeredgewidth=0.9, linestyle="none",
                )
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


def _inside_runs(material: Material) -> Iterator[History]:
    """Of each run that a bandit steered from inside, in the order of the trials."""
    for trial in material.accounts.of_selector:
        if trial.proposal.inner is None or trial.told is None or not trial.told.outcome.rounds:
            continue
        inner, problem = inside(material.problem, trial.proposal)
        bandit = make_inner(inner.name, inner.options)
        if isinstance(bandit, BetaBandit):
            pulls = tuple(_rounds(bandit, problem, trial.told.outcome.rounds))
            yield History(f"run of trial {trial.id:04d}", pulls)


def _rounds(bandit: BetaBandit, problem: Problem, rounds: Sequence[tuple[str, float]]) -> Iterator[Pull]:
    state = bandit.start(problem)
    for number, (task, score) in enumerate(rounds):
        before = state
        state = bandit.told(bandit.proposed(state, number, Proposal((task,))), number, Outcome(score))
        rewarded = None if before.last is None else score >= before.last
        yield Pull(task, rewarded, _means(state))


def _by_trials(material: Material) -> Iterator[History]:
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
            for number in was.state.pending.keys() - after.state.pending.keys():
                arm = was.state.pending[number].arm
                learned = _rewarded(after.selector, was.state, after.state, arm)
                pulls.setdefault(after.stage, []).append(Pull(arm, learned, _means(after.state.bandit)))
    for place, each in enumerate(pulls.values(), start=1):
        yield History(f"search {place}" if len(pulls) > 1 else "pulls", tuple(each))


def _rewarded(selector: object, before: TrialsState, after: TrialsState, arm: str) -> bool | None:
    """What a pull was worth, by what its arm's posterior became; ``None`` where it taught nothing."""
    if after.rewards == before.rewards or not isinstance(selector, Thompson):
        return None
    bandit, place = BetaBandit(gamma=selector.gamma), after.problem.names.index(arm)
    return bandit.learned(before.bandit.alpha, before.bandit.beta, place, 1.0)[0] == after.bandit.alpha


def _means(state: BanditState) -> dict[str, float]:
    return {
        name: alpha / (alpha + beta)
        for name, alpha, beta in zip(state.problem.names, state.alpha, state.beta, strict=True)
    }
