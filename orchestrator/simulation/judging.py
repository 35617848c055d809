"""How good a search's answer is, by the recorded truth that no selector saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.orchestrator.simulation.audit import correlate_ranks
from auxtune.orchestrator.simulation.recorded_groups import RecordedGroups
from auxtune.orchestrator.simulation.recorded_mixtures import RecordedMixtures
from auxtune.orchestrator.simulation.recorded_transfers import RecordedTransfers
from auxtune.orchestrator.simulation.recording import Recording
from auxtune.orchestrator.simulation.replay import Replayed
from auxtune.selectors.kit.skill import compute_ndcg, compute_regret
from auxtune.selectors.protocol import Proposal, Selection


@dataclass(frozen=True)
class Quality:
    """Values in the table's own units; ``None`` where a measure is not applicable.

    ``regret`` is by how much the answer is worse than the best there is, at least 0.
    """

    total_test: float | None = None
    mean_test: float | None = None
    ndcg: float | None = None
    regret_at_1: float | None = None
    regret_at_3: float | None = None
    regret_at_5: float | None = None
    spearman: float | None = None
    regret: float | None = None


def judge_answer(replayed: Replayed, recording: Recording, split: str = "test", bounded: bool = True) -> Quality:
    """The quality of a search's answer on ``split``.

    Groups that would cost more to serve than was asked are no answer, unless not ``bounded``: a control may.
    """
    if isinstance(recording, RecordedGroups):
        if recording.target is None:
            return _judge_groups(replayed, recording, split, bounded)
        return _judge_subset(replayed, recording, split)
    if isinstance(recording, RecordedTransfers):
        return _judge_ranking(replayed.selection, recording)
    assert isinstance(recording, RecordedMixtures)
    return _judge_mixture(replayed, recording, split)


def _judge_groups(replayed: Replayed, recording: RecordedGroups, split: str, bounded: bool) -> Quality:
    """Every task by the chosen network that is best for it on validation, judged on ``split``."""
    table, sign = recording.table, recording.table.header.sign
    chosen_on, judged_on = sign * table.mean("validation"), sign * table.mean(split)
    spearman = _correlate_groups(replayed, recording, split)
    groups = replayed.selection.groups or ({"tasks": list(replayed.selection.tasks)},)
    opened = [table.place(group["tasks"], group.get("network", "")) for group in groups]
    if None in opened:
        return Quality(spearman=spearman)
    places = [place for place in opened if place is not None]
    offered = np.where(np.isfinite(judged_on[places]), chosen_on[places], np.nan)
    if not np.isfinite(offered).any(axis=0).all():
        return Quality(spearman=spearman)
    serving = np.nanargmax(np.where(np.isfinite(offered), offered, -np.inf), axis=0)
    total = float(judged_on[np.array(places)[serving], np.arange(len(serving))].sum())
    by_cost = recording.inference_budget is not None
    spent = sum(table.networks[place].cost if by_cost else 1.0 for place in places)
    limit = float(recording.inference_budget or recording.models or 1)
    if bounded and spent > limit + 1e-9:
        return Quality(spearman=spearman)
    most = table.best_total(split, max(limit, spent), by_cost)  # of a control, what it serves
    return Quality(sign * total, sign * total / len(serving), spearman=spearman, regret=max(0.0, most - total))


def _correlate_groups(replayed: Replayed, recording: RecordedGroups, split: str) -> float | None:
    """Spearman of predicted and true scores of groups that were not trained.

    A group's score is the mean over members of how much it is better than the member's mean over all such groups:
    otherwise knowing which tasks are hard would look like knowing which groups are good.
    """
    table = recording.table
    asked_for = [trial.proposal for trial in replayed.accounts.trials.values()]
    trained = {table.place(proposal.tasks, proposal.network) for proposal in asked_for}
    several = [place for place, network in enumerate(table.networks) if len(network.tasks) > 1]
    places = [place for place in several if place not in trained]
    asked = [Proposal(table.networks[place].tasks, network=table.networks[place].name) for place in places]
    predicted = replayed.fold.predict(asked) if asked else None
    if predicted is None:
        return None
    expected = np.array([[each.get(task, np.nan) for task in table.header.tasks] for each in predicted], dtype=float)
    truth = np.where(np.isfinite(expected), table.header.sign * table.mean(split)[places], np.nan)
    expected = np.where(np.isfinite(truth), expected, np.nan)
    return correlate_ranks(_centre_tasks(expected), _centre_tasks(truth))


def _centre_tasks(scores: np.ndarray) -> np.ndarray:
    """Rows' means after each column's mean is taken away; ``nan`` where nothing is known."""
    known = np.isfinite(scores)
    filled = np.where(known, scores, 0.0)
    centred = np.where(known, filled - filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0.0)
    counts = known.sum(axis=1)
    means: np.ndarray = np.divide(centred.sum(axis=1), counts, out=np.full(len(scores), np.nan), where=counts > 0)
    return means


def _judge_subset(replayed: Replayed, recording: RecordedGroups, split: str) -> Quality:
    """The target's value in the chosen subset, against the best of all that hold it."""
    table = recording.table
    column = table.header.tasks.index(str(recording.target))
    values = table.header.sign * table.mean(split)[:, column]
    selection = replayed.selection
    shares = list((selection.weights or {}).values())
    equal = not shares or np.allclose(shares, shares[0])
    place = table.place(selection.tasks, str(selection.belief.get("network", ""))) if equal else None
    if place is None or not np.isfinite(values[place]):
        return Quality()
    value = float(values[place])
    return Quality(mean_test=table.header.sign * value, regret=float(np.nanmax(values)) - value)


def _judge_ranking(selection: Selection, recording: RecordedTransfers) -> Quality:
    """How well the sources are ordered for the target; tasks of a subset come first, in any order."""
    table, sources = recording.table, recording.sources
    column = table.header.tasks.index(str(recording.target))
    truth = np.array([table.header.sign * table.mean[table.sources.index(source), column] for source in sources])
    if selection.ranking is not None:
        given = dict(selection.ranking)
    else:
        weights = selection.weights or dict.fromkeys(selection.tasks, 1.0)
        given = {source: weights.get(source, 0.0) for source in sources}
    least = min(given.values(), default=0.0) - 1.0
    predicted = np.array([given.get(source, least) for source in sources])
    at = {k: compute_regret(k, predicted, truth) for k in (1, 3, 5)}
    return Quality(ndcg=compute_ndcg(predicted, truth), regret_at_1=at[1], regret_at_3=at[3], regret_at_5=at[5])


def _judge_mixture(replayed: Replayed, recording: RecordedMixtures, split: str) -> Quality:
    """The recorded mixture that the selector would choose of those on ``split``.

    That is the one it expects most of, where it can say and does not fall back to equal shares of all tasks; else the
    one nearest (L1) to its answer.
    """
    table, sign = recording.table, recording.table.header.sign
    values = sign * recording.values(split)
    known = np.flatnonzero(np.isfinite(values)).tolist()
    if not known:
        return Quality()
    expected = _predict_mixtures(replayed, recording, split, known)
    asked = recording.shares(Proposal(replayed.selection.tasks, replayed.selection.weights))
    if expected is not None and not np.allclose(asked, asked.mean()):
        row = known[int(expected.argmax())]
    else:
        row = known[int(np.abs(table.weights[split][known] - asked).sum(axis=1).argmin())]
    spearman = None if expected is None else correlate_ranks(expected, values[known])
    return Quality(
        mean_test=float(sign * values[row]), spearman=spearman, regret=float(values[known].max() - values[row])
    )


def _predict_mixtures(
    replayed: Replayed, recording: RecordedMixtures, split: str, rows: Sequence[int]
) -> np.ndarray | None:
    """The scores that the selector expects of recorded mixtures, (rows,); ``None`` where it expects nothing."""
    mixtures = [recording.weights_of(split, row) for row in rows]
    predicted = replayed.fold.predict([Proposal(tuple(weights), weights) for weights in mixtures])
    if predicted is None:
        return None
    found = np.array([each.get(str(recording.target), np.nan) for each in predicted], dtype=float)
    return found if np.isfinite(found).all() else None
