"""How the selector got there: whatever of it can be folded from the ledger and the evidence, drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.report.blocks import Block, Listing, Paragraph, Section, format_count
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.bandit import list_bandit_blocks
from auxtune.orchestrator.report.search.measured import list_head_blocks, list_layer_blocks
from auxtune.orchestrator.report.search.mixtures import list_mixture_blocks
from auxtune.orchestrator.report.search.pairs import list_pair_blocks
from auxtune.orchestrator.report.search.rankings import list_prefix_blocks, list_ranking_blocks, list_tried_blocks
from auxtune.selectors.protocol import Selection

# From what was measured to what was made of it; each yields nothing where it does not apply.
DRAWN: tuple[Callable[[Material], Iterator[Block]], ...] = (
    list_bandit_blocks,
    list_head_blocks,
    list_layer_blocks,
    list_pair_blocks,
    list_ranking_blocks,
    list_prefix_blocks,
    list_mixture_blocks,
    list_tried_blocks,
)


def build_search_section(material: Material) -> Section:
    """The drawings of the search, and the selector's whole belief as JSON."""
    return Section("search", "How the selector got there", tuple(_list_blocks(material)))


def _list_blocks(material: Material) -> Iterator[Block]:
    search = material.accounts.of_selector
    reused = sum(trial.reused for trial in search)
    spared = f", {reused} of them known from before" if reused else ""
    yield Paragraph(f"{material.options.selector.name}: {format_count(len(search), 'proposal')}{spared}.")
    if not isinstance(material.leaning, Selection):
        yield Paragraph(f"The selector cannot be asked what it holds true: {material.leaning}", "warning")
        return
    drawn = [block for draw in DRAWN for block in _draw_safely(draw, material)]
    yield from drawn or [Paragraph("Nothing of this method can be drawn beyond its trials above.", "note")]
    if material.belief:
        text = json.dumps(material.belief, indent=1, ensure_ascii=False, default=str)
        where = "as in selection.json" if material.new_reading is None else "read again"
        yield Listing(f"What the selector holds true, {where}", text, folded=True)


def _draw_safely(draw: Callable[[Material], Iterator[Block]], material: Material) -> list[Block]:
    """The blocks of ``draw``; where evidence is gone or a fold breaks, a warning, and the other drawings are kept."""
    try:
        return list(draw(material))
    except AuxtuneError as error:
        said = str(error)
    except Exception as error:  # of arrays that are others than were measured, and whose digest was changed with them
        said = f"{type(error).__name__}: {error}"
    return [Paragraph(f"Something of this method cannot be drawn: {said}", "warning")]
