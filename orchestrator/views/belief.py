"""What a selector believes so far, in one line: what it leans to, and on what that rests.

Read from the same ``Selection.belief`` as the report's pictures, by what stands in it and never by a selector's name,
so that one from elsewhere has its line too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from auxtune.orchestrator.record.scores import show_value
from auxtune.orchestrator.report.search.stages import UnderWay, under_way
from auxtune.orchestrator.views.progress import mixture
from auxtune.selectors.kit.searches import Searches, SearchesState
from auxtune.selectors.protocol import Evidence, Proposal, Selection, Selector
from auxtune.trials.recipe import SearchScore

_NAMED = 4  # tasks of a ranking that fit in a line
# What stands in a belief as task -> number, in the words that go before the numbers.
_RANKINGS = {
    "utility": "a round of it does not hurt with probability",
    "tau": "heads alike by τ",
    "similarity": "alike by covariance",
    "coefficients": "worth in the linear fit",
    "alpha": "weight of the labels",
    "onto_primary": "does for the primary",
}
_TRIED = {"prefixes": "prefixes", "nested": "numbers of tasks", "cuts": "cuts of the rows"}


def belief_line(
    selector: Selector, state: Any, evidence: Evidence, sign: int = 1, search_score: SearchScore = "metric"
) -> str:
    """The belief of what is under way: of a pipeline its present stage, of several searches the best so far.

    ``sign`` turns its scores into what was measured, and ``search_score`` says what that is. As slow as the selector's
    ``select``. Raises what that raises.
    """
    present = _present(selector, state)
    selection = present.selector.select(present.state, evidence)
    primary = getattr(getattr(present.state, "problem", None), "primary", None)
    where = f"{present.stage}: " if present.stage else ""
    return f"{where}leans to {'; '.join([_leaning(selection), *_grounds(selection, primary, sign, search_score)])}"


def _present(selector: Selector, state: Any) -> UnderWay:
    each = list(under_way(selector, state))
    if isinstance(selector, Searches) and isinstance(state, SearchesState):
        return max(zip(each, state.best, strict=True), key=lambda one: -math.inf if one[1] is None else one[1])[0]
    return each[0]


def _leaning(selection: Selection) -> str:
    if selection.groups and selection.kind == "groups":
        return " | ".join(" + ".join(group["tasks"]) for group in selection.groups)
    asked = Proposal(selection.tasks, selection.weights, selection.weighting)
    rows = [f"{kept.kept} of {kept.rows} rows of {task}" for task, kept in (selection.instances or {}).items()]
    return mixture(asked) + (f" with {', '.join(rows)}" if rows else "")


def _grounds(selection: Selection, primary: str | None, sign: int, search_score: SearchScore) -> Iterator[str]:
    belief = selection.belief
    if not belief:
        yield "it holds no belief"
    if why := belief.get("why") or belief.get("because"):
        yield str(why)
    for key, words in _RANKINGS.items():
        if values := _numbers(belief.get(key)):
            sure = belief.get("interval") if key == "utility" else None
            yield f"{words}: {_ranked(values, primary, sure)}"
    if better := _numbers(belief.get("better")):
        yield f"better than all others' rounds with probability: {_ranked(better, primary)}"
    if selection.ranking:
        yield f"first of its ranking: {_ranked(dict(selection.ranking), primary)}"
    for key, words in _TRIED.items():
        if tried := [each["score"] for each in belief.get(key) or () if each.get("score") is not None]:
            yield f"{len(tried)} {words} tried, the best {show_value(sign * max(tried), search_score)}"
    yield from _expected(belief, sign, search_score)
    yield from _pairs(belief)
    if "trained" in belief and "of" in belief:
        yield f"{belief['trained']} of {belief['of']} groups trained"
    if "best_score" in belief:
        known = belief["best_score"]
        drew = (
            "nothing scored yet"
            if known is None
            else "the best that it drew, " + show_value(sign * known, search_score)
        )
        yield f"no belief: {drew}"


def _expected(belief: Mapping[str, Any], sign: int, search_score: SearchScore) -> Iterator[str]:
    """What a model of mixtures thinks of the one it leans to: its mean, beside the score that was seen."""
    tried, chosen = belief.get("tried"), belief.get("chosen")
    if isinstance(tried, list) and tried:
        chosen = max(tried, key=lambda each: each["mean"])
    if isinstance(chosen, Mapping):
        score = chosen.get("score")
        seen = f", seen {show_value(sign * score, search_score)}" if score is not None else ""
        yield f"expects {show_value(sign * chosen['mean'], search_score)} of it{seen}"


def _pairs(belief: Mapping[str, Any]) -> Iterator[str]:
    """The largest affinity between two tasks, of the first table that has one."""
    tables = [each for each in belief.values() if isinstance(each, Mapping) and "recipient_by_source" in each]
    if not tables:
        if "affinity" in belief:
            yield "nothing measured yet"
        return
    tasks, rows = tables[0]["tasks"], tables[0]["recipient_by_source"]
    pairs = [
        (value, recipient, source)
        for recipient, row in zip(tasks, rows, strict=True)
        for source, value in zip(tasks, row, strict=True)
        if recipient != source and value is not None
    ]
    if pairs:
        value, recipient, source = max(pairs)
        yield f"of {len(pairs)} affinities the largest is {source} → {recipient}, {value:+.3g}"


def _numbers(values: Any) -> dict[str, float]:
    told = values.items() if isinstance(values, Mapping) else ()
    return {task: value for task, value in told if isinstance(value, (int, float))}


def _ranked(values: Mapping[str, float], primary: str | None, intervals: Any = None) -> str:
    """The first few of the others than the primary, with their ``intervals`` if there are any, and how many more."""
    others = sorted(((value, task) for task, value in values.items() if task != primary), reverse=True)
    more = f", {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    bounds = intervals if isinstance(intervals, Mapping) else {}
    sure = {task: f" ({ends[0]:.2f} to {ends[1]:.2f})" for task, ends in bounds.items()}
    # Gains of single steps are far below a hundredth.
    pattern = ".2f" if max((abs(value) for value, _ in others), default=1.0) >= 0.1 else ".2g"
    return ", ".join(f"{task} {value:{pattern}}{sure.get(task, '')}" for value, task in others[:_NAMED]) + more
