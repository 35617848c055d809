"""Which tasks help, then in what proportion: AutoSeM's two stages in a row.

Chooses weights. Source: H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in Multi-Task
Learning", NAACL 2019, https://arxiv.org/abs/1904.04153. Stage 1 is ``thompson.py``, stage 2 ``gp_mixing.py``, on the
primary and the auxiliaries that stage 1 kept; both say what is verified and where we differ.

Its options are theirs; ``samples`` counts the mixtures. Do not use it where the budget cannot pay for stage 2 as well
(then ``thompson`` says so more plainly), nor with few candidates (then ``gp_mixing`` alone may leave a task at 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auxtune.selectors.kit.pipeline import Staged
from auxtune.selectors.methods.gp_mixing import GPMixing
from auxtune.selectors.methods.thompson import Thompson
from auxtune.selectors.options import check, option
from auxtune.selectors.protocol import Answer, Selector


@dataclass(frozen=True)
class AutoSeM(Staged):
    """The two best auxiliaries and any further one that surely does better, then the shares of what was kept."""

    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM (2019), https://arxiv.org/abs/1904.04153"
    answers: ClassVar[Answer] = "weights"
    needs: ClassVar[str] = "a budget of some thirty runs before confirm"
    costs: ClassVar[str] = "`seeds` long runs, then `samples` runs"
    avoid: ClassVar[str] = "there are two candidates or fewer: `gp_mixing` alone does as well"

    rounds: int = option(200, "stage 1: rounds of one run", least=2)
    round_steps: int = option(10, "stage 1: optimisation steps of one round", least=1)
    seeds: int = option(2, "stage 1: runs side by side whose rewards are added up", least=1)
    gamma: float = option(0.3, "stage 1: how far every arm falls back to the prior each round", least=0, most=1)
    released: bool = option(False, "stage 1: choose by utilities of the last posterior above 0.5")
    samples: int = option(20, "stage 2: mixtures to train", least=1)
    startup: int | None = option(None, "stage 2: random mixtures first; null: tasks, but at least 4", least=1)
    min_primary: float = option(0.1, "stage 2: the least share of the primary", least=0, most=1)

    def __post_init__(self) -> None:
        check(type(self), vars(self))

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
