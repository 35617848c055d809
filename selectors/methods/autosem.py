"""Which tasks help, then in what proportion: AutoSeM's two stages in a row.

Chooses weights. Source: H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in Multi-Task
Learning", NAACL 2019, https://arxiv.org/abs/1904.04153. Stage 1 is ``thompson.py``, stage 2 ``gp_mixing.py``, on the
primary and the auxiliaries that stage 1 kept; both say what is verified and where we differ.

Its options are theirs; ``samples`` counts the mixtures. Do not use it where the budget cannot pay for stage 2 as well
(then ``thompson`` says so more plainly), nor with few candidates (then ``gp_mixing`` alone may leave a task at 0).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.pipeline import Staged
from auxtune.selectors.methods.gp_mixing import GPMixing
from auxtune.selectors.methods.thompson import Thompson
from auxtune.selectors.protocol import Selector


@options
class AutoSeM(Staged):
    """The two best auxiliaries and any further one that surely does better, then the shares of what was kept."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM (2019), https://arxiv.org/abs/1904.04153"
    needs: ClassVar[str] = "a budget of some thirty runs before confirm"
    costs: ClassVar[str] = "`seeds` long runs, then `samples` runs"
    avoid: ClassVar[str] = "there are two candidates or fewer: `gp_mixing` alone does as well"

    rounds: int = Field(default=200, ge=2, description="stage 1: rounds of one run")
    round_steps: int = Field(default=10, ge=1, description="stage 1: optimisation steps of one round")
    seeds: int = Field(default=2, ge=1, description="stage 1: runs side by side whose rewards are added up")
    gamma: float = Field(
        default=0.3, ge=0, le=1, description="stage 1: how far every task falls back to the prior each round"
    )
    released: bool = Field(default=False, description="stage 1: choose by utilities of the last posterior above 0.5")
    samples: int = Field(default=20, ge=1, description="stage 2: mixtures to train")
    startup: int | None = Field(
        default=None, ge=1, description="stage 2: random mixtures first; null: tasks, but at least 4"
    )
    min_primary: float = Field(default=0.1, ge=0, le=1, description="stage 2: the least share of the primary")

    @property
    def stages(self) -> tuple[tuple[str, Selector], ...]:
        """Thompson sampling, then Gaussian-process mixing."""
        thompson = Thompson(
            rounds=self.rounds,
            round_steps=self.round_steps,
            seeds=self.seeds,
            gamma=self.gamma,
            released=self.released,
        )
        mixing = GPMixing(samples=self.samples, startup=self.startup, min_primary=self.min_primary)
        return (("thompson", thompson), ("gp_mixing", mixing))
