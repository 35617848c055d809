"""A selector's belief so far, in one line: the answer it leans to, and the grounds for it.

Read from the same beliefs as the report's pictures, so that a selector from elsewhere has its line too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from auxtune.orchestrator.record.scores import show_value
from auxtune.orchestrator.views.progress import describe_mixture
from auxtune.selectors.beliefs import (
    Belief,
    BestDrawn,
    Expectation,
    Filters,
    PairTable,
    Prefixes,
    Ranking,
    Remark,
    Utilities,
)
from auxtune.selectors.extensions import find_active_parts, read_beliefs
from auxtune.selectors.protocol import Evidence, Proposal, Selection, Selector
from auxtune.trials.recipe import SearchScore

_NAMED = 4  # tasks of a ranking that fit in a line


def describe_belief(
    selector: Selector, state: Any, evidence: Evidence, sign: int = 1, search_score: SearchScore = "metric"
) -> str:
    """The belief of the selector at work: of a pipeline its present stage, of several searches the best so far.

    ``sign`` turns its scores into what was measured, and ``search_score`` says what that is. As slow as the selector's
    ``select``. Raises what that raises.
    """
    parts = list(find_active_parts(selector, state))
    present = max(parts, key=lambda part: -math.inf if part.best is None else part.best)
    selection = present.selector.select(present.state, evidence)
    primary = getattr(getattr(present.state, "problem", None), "primary", None)
    beliefs = [belief for _, belief in read_beliefs(present.selector, selection.belief)]
    grounds = describe_grounds(beliefs, primary, lambda score: show_value(sign * score, search_score))
    where = f"{present.stage}: " if present.stage else ""
    silent = [] if selection.belief else ["it holds no belief"]
    ranking = selection.ranking and f"first of its ranking: {_list_first(dict(selection.ranking), primary)}"
    told = [*silent, *grounds, *([ranking] if ranking else [])]
    return f"{where}leans to {'; '.join([_describe_leaning(selection), *told])}"


def _describe_leaning(selection: Selection) -> str:
    if selection.groups and selection.kind == "groups":
        return " | ".join(" + ".join(group["tasks"]) for group in selection.groups)
    asked = Proposal(selection.tasks, selection.weights, selection.weighting)
    rows = [f"{kept.kept} of {kept.rows} rows of {task}" for task, kept in (selection.instances or {}).items()]
    return describe_mixture(asked) + (f" with {', '.join(rows)}" if rows else "")


def describe_grounds(beliefs: list[Belief], primary: str | None, show_score: Callable[[float], str]) -> Iterator[str]:
    """A few words for each belief that fits in a line; of tables of pairs the first alone."""
    tables = [belief for belief in beliefs if isinstance(belief, PairTable)]
    for belief in beliefs:
        match belief:
            case Remark():
                yield belief.text
            case Ranking():
                yield f"{belief.in_short}: {_list_first(belief.values, primary)}"
            case Utilities():
                yield from _describe_utilities(belief, primary)
            case Prefixes():
                scores = [each.score for each in belief.tried]
                yield f"{len(scores)} {belief.in_short} tried, the best {show_score(max(scores))}"
            case Filters():
                if scores := [each.score for each in belief.tried if each.score is not None]:
                    yield f"{len(scores)} cuts of the rows tried, the best {show_score(max(scores))}"
            case Expectation():
                seen = "" if belief.seen is None else f", seen {show_score(belief.seen)}"
                yield f"expects {show_score(belief.mean)} of it{seen}"
            case PairTable() if belief is tables[0]:
                yield from _describe_largest(belief)
            case BestDrawn():
                best = belief.score
                drew = "nothing scored yet" if best is None else f"the best that it drew, {show_score(best)}"
                yield f"no belief: {drew}"


def _describe_utilities(belief: Utilities, primary: str | None) -> Iterator[str]:
    interval = belief.counted.interval if belief.counted else None
    yield f"a round of it does not hurt with probability: {_list_first(belief.values, primary, interval)}"
    if belief.counted:
        better = _list_first(belief.counted.better, primary)
        yield f"better than all others' rounds with probability: {better}"


def _describe_largest(table: PairTable) -> Iterator[str]:
    """The largest affinity between two tasks."""
    pairs = [
        (value, recipient, source)
        for recipient, row in zip(table.tasks, table.rows, strict=True)
        for source, value in zip(table.tasks, row, strict=True)
        if recipient != source and value is not None
    ]
    if pairs:
        value, recipient, source = max(pairs)
        yield f"of {len(pairs)} affinities the largest is {source} → {recipient}, {value:+.3g}"


def _list_first(
    values: Mapping[str, float], primary: str | None, intervals: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """The first few of the others than the primary, with their ``intervals`` if there are any, and how many more."""
    others = sorted(((value, task) for task, value in values.items() if task != primary), reverse=True)
    more = f", {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    sure = {task: f" ({ends[0]:.2f} to {ends[1]:.2f})" for task, ends in (intervals or {}).items()}
    # Gains of single steps are far below a hundredth.
    pattern = ".2f" if max((abs(value) for value, _ in others), default=1.0) >= 0.1 else ".2g"
    return ", ".join(f"{task} {value:{pattern}}{sure.get(task, '')}" for value, task in others[:_NAMED]) + more
