"""What was tried side by side: filters of rows, and whole searches with seeds of their own."""

from __future__ import annotations

from collections.abc import Iterator

from auxtune.orchestrator.report.blocks import Block, Table, number
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.stages import beliefs, of_stage


def tried_blocks(material: Material) -> Iterator[Block]:
    """A table for each; nothing where a method tried neither."""
    for stage, belief in beliefs(material):
        if cuts := belief.get("cuts"):
            rows = [
                (number(cut["threshold"]), _kept(cut["kept"]), number(_measured(cut["score"], material.sign), ".4f"))
                for cut in cuts
            ]
            columns = ("threshold", "rows kept", f"{material.scored}, validation split")
            yield Table(f"Filters of the training rows{of_stage(stage)}", columns, tuple(rows))
    if searches := material.belief.get("searches"):
        winner = material.belief.get("winner")
        found = [
            (
                f"search {place + 1}{', which answers' if place == winner else ''}",
                " + ".join(search["tasks"]),
                number(_measured(search["best_score"], material.sign), ".4f"),
            )
            for place, search in enumerate(searches)
        ]
        best = "best score" if material.accounts.search_score == "metric" else f"lowest {material.scored}"
        yield Table("The same search with other seeds", ("search", "chose", best), tuple(found))


def _measured(score: float | None, sign: int) -> float | None:
    return None if score is None else sign * score


def _kept(kept: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{task} {each['kept']} of {each['rows']}" for task, each in kept.items()) or "all"
