"""In what proportion to train the tasks: mixtures drawn at random, the control that a search over shares must beat.

No source. The draws are the sparse ones of ``candidates.py``, after the primary alone and all tasks alike; the answer
is the drawn mixture with the best posterior mean of the process that ``auto`` learns by, so the two differ in what they
propose alone. One ``propose`` costs nothing. Do not use it to find out which tasks help: it does not look.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from auxtune.selectors.kit.candidates import build_candidates, find_nearest, list_usual
from auxtune.selectors.kit.mixture_search import MixtureSearch, MixtureState, build_proposal
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import Done, Evidence, Proposal


@options
class RandomMixture(MixtureSearch):
    """The shares of the tasks, the best of sparse mixtures drawn at random: the control of `auto`."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "`trials` runs, or all that the budget allows"
    avoid: ClassVar[str] = "the question is which tasks help: it does not look"

    trials: int | None = Field(default=20, ge=1, description="mixtures to draw; null: as many as the budget allows")
    min_primary: float = Field(default=0.05, ge=0, le=1, description="the least share of the primary")

    def propose(self, state: MixtureState, evidence: Evidence) -> Proposal | Done:
        """The usual mixtures first, then draws; where only some mixtures are offered, of these."""
        made, problem, offered = len(state.mixtures), state.problem, state.unused
        if made == (1 if len(problem.tasks) == 1 else self.trials) or state.is_exhausted:
            return Done()
        rng = np.random.default_rng([problem.seed, made])
        usual = list_usual(problem)
        if made < len(usual):
            first = usual[made] if offered is None else find_nearest(offered, usual[made])
            return build_proposal(problem, first, rng, "start")
        if offered is not None:
            return build_proposal(problem, offered[rng.integers(len(offered))], rng, "draw")
        return build_proposal(problem, build_candidates(problem, self.min_primary).draw(rng, 1)[0], rng, "draw")
