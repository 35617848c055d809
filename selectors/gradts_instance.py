"""Which tasks to add to the primary, and which of their rows: GradTS with instances.

Chooses rows. Source: the finaliser ``fg`` of W. Ma, R. Lou, K. Zhang, L. Wang, S. Vosoughi, "GradTS: A Gradient-Based
Automatic Auxiliary Task Selection Method Based on Transformer Networks", EMNLP 2021, https://arxiv.org/abs/2109.05748.
Stage 1 is ``gradts_trial.py``. Stage 2 (``instance_filter.py``) keeps of each chosen auxiliary the training rows whose
own head profile has a Kendall tau of at least ``threshold`` with the primary's; the primary keeps all its rows, and an
auxiliary without a row is dropped.

What is known how. Verified in the authors' code: this rule, and thresholds of 0.40 to 0.43, chosen for each task on
``bert-base-cased`` with the importance that ``released: true`` stands for. The default is one of them, 0.42, which
need not suit another encoder: taus rise and fall with it. A list tries several, each in a trial; the best score wins.

Where we differ. The authors fine-tune each task a second time for the importance of its rows; here it is measured on
the runs that ranked the tasks. All auxiliaries share the threshold, and their rows count as ``training.sampling`` says.
A list can overfit the validation split, and confirm will show it. An auxiliary whose rows could not be measured, or all
where the primary's profile could not, keeps its rows.

Costs what ``gradts_trial`` does, a backward pass per batch of the chosen auxiliaries' training rows, and one trial per
threshold. Do not use it with small auxiliaries: what is left of them is repeated the more often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auxtune.selectors.gradts_trial import GradTSTrial
from auxtune.selectors.head_ranking import RELEASED
from auxtune.selectors.instance_filter import InstanceFilter
from auxtune.selectors.options import check, option
from auxtune.selectors.pipeline import Staged
from auxtune.selectors.protocol import Answer, Problem, Selector


@dataclass(frozen=True)
class GradTSInstance(Staged):
    """The auxiliaries of `gradts_trial`, and of each the rows whose attention heads matter as the primary's do."""

    paper: ClassVar[str | None] = "Ma, Lou, Zhang, Wang, Vosoughi: GradTS (2021), https://arxiv.org/abs/2109.05748"
    answers: ClassVar[Answer] = "rows"
    needs: ClassVar[str] = "an encoder with attention heads"
    costs: ClassVar[str] = "`gradts_trial`, and a run per threshold"
    avoid: ClassVar[str] = "auxiliaries have few rows to spare"

    patience: int = option(0, "stage 1: how many prefixes in a row may score below the best so far", least=0)
    ahead: int = option(2, "stage 1: prefixes trained beyond the first that is undecided; 0: one by one", least=0)
    compare_alone: bool = option(False, "stage 1: the primary alone is the first prefix and may win")
    threshold: float | list[float] = option(  # noqa: RUF009 - the default is no list
        0.42, "stage 2: the least tau of a row with the primary; of a list the best wins", least=-1
    )
    released: bool = option(False, RELEASED)

    def __post_init__(self) -> None:
        check(type(self), vars(self))

    @property
    def stages(self) -> tuple[tuple[str, Selector], ...]:
        """Prefixes of the ranking, then rows of the best one."""
        trial = GradTSTrial(self.patience, self.ahead, self.compare_alone, self.released)
        return (("gradts_trial", trial), ("instances", InstanceFilter(self.threshold, self.released)))

    def fewest(self, problem: Problem) -> int:
        """Of stage 1 its fewest; then two runs and a trial for the one auxiliary that it leaves at least."""
        (_, trial), (_, rows) = self.stages
        left = 0 if self.compare_alone else min(3, rows.fewest(problem))
        return trial.fewest(problem) + left
