"""The budget: when to stop proposing so that confirm can still be paid.

A budget covers everything. What confirm will take is held back; in hours and money it is estimated, per optimisation
step, from the trials that ended so far, and renewed after each. Where a control is to search at the price of measure
and search (``control_search``), as much as these have cost is held back for it, too, so that the search gets half of
what remains after confirm. Running trials are never killed, so they can overrun hours and money.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from auxtune.orchestrator.errors import BudgetTooSmall
from auxtune.orchestrator.planning.arms import EQUAL, EQUAL_COST, RANDOM, limit_models
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS
from auxtune.orchestrator.study_file.models import BudgetOptions, StudyOptions
from auxtune.selectors.protocol import Proposal
from auxtune.trials.result import Cost

HOUR = 3600.0
NOTHING = Cost(wall_seconds=0.0, gpu_seconds=0.0, cpu_seconds=0.0)
_NOISE = 1e-9  # of a cost: float noise must not ask for another trial


@dataclass(frozen=True)
class Price:
    """Money per allocated hour, ``None`` where unknown, and per hour that a node of each type is up."""

    gpu_hour: float | None = None
    cpu_hour: float | None = None
    nodes: Mapping[str, float] = field(default_factory=dict)

    def usd(self, cost: Cost) -> float | None:
        """The price of an attempt, or ``None`` where a price that it needs is not given."""
        if self.gpu_hour is None and self.cpu_hour is None:
            return None
        # CPUs come with a GPU where only GPUs are priced; else time that was used and has no price is unknown money.
        cpus_included = bool(cost.gpu_seconds) and self.gpu_hour is not None
        unpriced_gpus = cost.gpu_seconds and self.gpu_hour is None
        unpriced_cpus = cost.cpu_seconds and self.cpu_hour is None and not cpus_included
        if unpriced_gpus or unpriced_cpus:
            return None
        return (cost.gpu_seconds * (self.gpu_hour or 0.0) + cost.cpu_seconds * (self.cpu_hour or 0.0)) / HOUR

    def total(self, costs: Iterable[Cost]) -> float | None:
        """The sum over attempts; ``None`` where the price of any is unknown, and without prices even for none."""
        each = [self.usd(cost) for cost in (NOTHING, *costs)]
        return None if None in each else sum(filter(None, each))

    def node_usd(self, kind: str, seconds: float) -> float | None:
        """The price of nodes of a type that were up for so long together, or ``None`` where it has no price."""
        return None if kind not in self.nodes else seconds * self.nodes[kind] / HOUR

    def cluster_usd(self, seconds: Mapping[str, float] | None) -> float | None:
        """The price of a cluster; ``None`` off a cluster, and where a type that was up has no price."""
        each = [self.node_usd(kind, up) for kind, up in (seconds or {}).items()]
        return None if seconds is None or None in each else sum(filter(None, each))


def price_of(options: StudyOptions) -> Price:
    """A study's prices."""
    return Price(options.prices.gpu_hour, options.prices.cpu_hour, options.prices.nodes)


def list_spending(limits: BudgetOptions, cost: Mapping[str, Any]) -> list[str]:
    """A line for each limit that is set: what was spent of it, and by how much it was overrun."""
    return [
        f"{key} {describe_spending(cost[key], limit)}" for key, limit in limits.model_dump(exclude_none=True).items()
    ]


def describe_spending(spent: float | None, limit: float) -> str:
    """The amount ``spent`` of one limit, ``None`` where it is unknown, and by how much the limit was overrun."""
    if spent is None:
        return f"unknown of {_format_amount(limit)}"
    overrun = f", overrun by {_format_amount(spent - limit)}" if spent > limit else ""
    return f"{_format_amount(spent)} of {_format_amount(limit)}{overrun}"


def _format_amount(amount: float) -> str:
    """Four digits, or all before the point: 0.03217, 12.5, 10004."""
    return f"{amount:.4g}" if abs(amount) < 1000 else f"{amount:.0f}"


def check_prices(options: StudyOptions, slots: Slots) -> None:
    """Raise ``BudgetTooSmall`` where a budget in money could not be kept for want of a price."""
    second = Cost(wall_seconds=1.0, gpu_seconds=slots.gpus, cpu_seconds=slots.cpus)
    if options.budget.usd is not None and price_of(options).usd(second) is None:
        missing = "gpu_hour" if slots.gpus else "cpu_hour"
        raise BudgetTooSmall(
            f"budget.usd: trials take {slots.cpus:g} CPUs and {slots.gpus:g} GPUs here, and prices.{missing} is not "
            "given, so what they cost is unknown; give the price, or another limit"
        )


def explain_unreachable_limits(options: StudyOptions, slots: Slots) -> dict[str, str]:
    """Limit -> why trials with these ``slots`` never use any of it, for each such limit."""
    both = (slots, slots.probes) if slots.probes else (slots,)
    each = [Cost(wall_seconds=1.0, gpu_seconds=given.gpus, cpu_seconds=given.cpus) for given in both]
    found = {}
    if options.budget.gpu_hours is not None and not any(cost.gpu_seconds for cost in each):
        found["gpu_hours"] = "budget.gpu_hours is never reached: trials take no GPU here"
    if options.budget.usd is not None and all(price_of(options).usd(cost) == 0 for cost in each):
        found["usd"] = "budget.usd is never reached: at these prices what trials take here costs nothing"
    return found


def check_limits(options: StudyOptions, slots: Slots) -> None:
    """Raise ``BudgetTooSmall`` where no limit of the budget can end the search."""
    vain = explain_unreachable_limits(options, slots)
    if vain and vain.keys() == options.budget.model_dump(exclude_none=True).keys():
        raise BudgetTooSmall(f"{'; '.join(vain.values())}; give budget.trials or budget.wall_hours too")


@dataclass(frozen=True)
class Budget:
    """The limits of a study, and how far it has come."""

    options: StudyOptions
    steps: Callable[[Proposal], int]  # optimisation steps of an executed proposal
    slots: Slots

    @property
    def price(self) -> Price:
        """The study's prices."""
        return price_of(self.options)

    def exhausted(self, accounts: Accounts, confirm: Sequence[Proposal], now: float) -> str | None:
        """The key of the limit that forbids one more search trial, or ``None``.

        ``confirm`` is what must be held back for it; ``now`` is in seconds since the epoch. Where the money that was
        spent is unknown, no more may be.
        """
        begun, coming, more = self._list_steps(accounts.unfinished), self._next_steps(accounts), len(confirm) + 1
        if not has_equal_cost(self.options):
            return self._passed(accounts, [*begun, coming], confirm, more, now)
        more += count_control_trials(accounts, searched=1)
        return self._passed(accounts, [*begun, coming], confirm, more, now, doubled=coming)

    def forbids(
        self, accounts: Accounts, confirm: Sequence[Proposal], now: float, before: Sequence[Proposal] = ()
    ) -> str | None:
        """The key of the limit that forbids some trials ``before`` and the remaining trainings of ``confirm``."""
        search = [*self._list_steps(accounts.unfinished), *map(self.steps, before)]
        return self._passed(accounts, search, confirm, len(confirm) + len(before), now)

    def is_control_paid(self, accounts: Accounts) -> bool:
        """Whether the control's trials, by estimate also those that run, cost as much as measure and search did."""
        costs, theirs = accounts.search_costs, [cost for trial in accounts.in_phase("control") for cost in trial.costs]
        # Whatever the control's trials take nothing of would let them go on for ever.
        in_money = bool(self.price.total(costs)) and self.price.total(theirs) is not None
        on_gpus = self.slots.gpus > 0 and any(cost.gpu_seconds for cost in costs)

        def measure(cost: Cost) -> float:
            return self._usd(cost) if in_money else cost.gpu_seconds if on_gpus else cost.cpu_seconds

        return self._owe_control(accounts, measure, more=0.0) <= _NOISE * sum(map(measure, costs))

    def _owe_control(self, accounts: Accounts, measure: Callable[[Cost], float], more: float) -> float:
        """How much the control still takes if the search trains ``more`` steps than those it has begun."""
        control = accounts.in_phase("control")
        searching = self._list_steps(trial for trial in accounts.in_phase(*SELECTORS) if trial.told is None)
        running = self._list_steps(trial for trial in control if trial.told is None)
        coming = (more + sum(searching) - sum(running)) * self._per_step(accounts, measure)
        return max(0.0, sum(map(measure, accounts.search_costs)) + coming - _sum_costs(control, measure))

    def _list_steps(self, trials: Iterable[Trial]) -> list[int]:
        return [self.steps(trial.proposal) for trial in trials]

    def _passed(
        self,
        accounts: Accounts,
        search: Sequence[float],
        confirm: Sequence[Proposal],
        more: int,
        now: float,
        doubled: float | None = None,
    ) -> str | None:
        """The key of the limit that ``more`` trials would pass: steps of ``search``, then the trials of ``confirm``.

        Between them, where ``doubled`` is given, come those of the control: as much as the search has cost, and will
        with so many more steps.
        """
        budget = self.options.budget
        if budget.trials is not None and accounts.trained + more > budget.trials:
            return "trials"
        arms = [self.steps(proposal) for proposal in confirm]
        held = sum(search) + sum(arms)

        def owed(measure: Callable[[Cost], float]) -> float:
            return 0.0 if doubled is None else self._owe_control(accounts, measure, doubled)

        if budget.wall_hours is not None:
            at_once = self.slots.concurrent
            steps = estimate_passing(search, at_once) + estimate_passing(
                arms, at_once
            )  # confirm begins when the search has drained
            waiting = steps * self._per_step(accounts, lambda cost: cost.wall_seconds)
            waiting += owed(lambda cost: cost.wall_seconds) / at_once
            if accounts.elapsed_seconds(now) + waiting >= budget.wall_hours * HOUR:
                return "wall_hours"
        if budget.gpu_hours is not None:
            gpu = sum_spent(accounts, lambda cost: cost.gpu_seconds) + owed(lambda cost: cost.gpu_seconds)
            if gpu + held * self._per_step(accounts, lambda cost: cost.gpu_seconds) >= budget.gpu_hours * HOUR:
                return "gpu_hours"
        if budget.usd is not None:
            usd = sum_spent(accounts, self._usd) + owed(self._usd)
            if usd + held * self._per_step(accounts, self._usd) >= budget.usd:
                return "usd"
        return None

    def _next_steps(self, accounts: Accounts) -> float:
        """Steps of the trial that would be started now: like those before it."""
        search = [self.steps(trial.proposal) for trial in accounts.of_selector]
        return sum(search) / len(search) if search else 0.0

    def _usd(self, cost: Cost) -> float:
        usd = self.price.usd(cost)
        return math.inf if usd is None else usd

    def _per_step(self, accounts: Accounts, measure: Callable[[Cost], float]) -> float:
        """Mean of ``measure`` per optimisation step over the finished trials; 0 before the first."""
        finished = [trial for trial in accounts.trials.values() if trial.shows_throughput]
        steps = sum(self.steps(trial.proposal) for trial in finished)
        return _sum_costs(finished, measure) / steps if steps else 0.0


def estimate_passing(trials: Sequence[float], at_once: int) -> float:
    """Steps (or seconds) that pass while ``trials``, given by theirs, share ``at_once`` slots; none can be split."""
    return max([sum(trials) / at_once, *trials])


def sum_spent(accounts: Accounts, measure: Callable[[Cost], float]) -> float:
    """The sum of ``measure`` over every ended attempt of every trial."""
    return _sum_costs(list(accounts.trials.values()), measure)


def _sum_costs(trials: list[Trial], measure: Callable[[Cost], float]) -> float:
    return sum(measure(cost) for trial in trials for cost in trial.costs)


def has_equal_cost(options: StudyOptions) -> bool:
    """Whether a control of the study searches by itself, at the price of the search."""
    return EQUAL_COST in options.confirm.controls


def count_control_trials(accounts: Accounts, searched: int = 0) -> int:
    """The trials to hold back for the control that searches: as many as the search has, with ``searched`` more.

    What it has trained before is taken off. How many it trains in the end, their cost decides.
    """
    return max(0, len(accounts.in_phase(*SELECTORS)) + searched - len(accounts.in_phase("control")))


def count_search_trials(left: int, is_controlled: bool, owed: int = 0) -> int:
    """The search's part of the trials ``left`` besides confirm's.

    Where it is controlled, the control first trains what it is ``owed``, and then as many as the search.
    """
    return max(0, left - owed) // 2 if is_controlled else max(0, left)


def confirm_arms(options: StudyOptions) -> int:
    """The most arms confirm has: the selection, each control, and with leave-one-out each auxiliary left out."""
    left_out = len(options.tasks) - 1 if options.confirm.leave_one_out else 0
    return 1 + len(options.confirm.controls) + left_out


def confirm_models(options: StudyOptions) -> int:
    """The most models that confirm trains with each seed: with a primary one per arm."""
    if options.objective is None:
        return confirm_arms(options)
    tasks = len(options.tasks)
    groups = limit_models(options.models, tasks)
    # Groups are trained by the sampling rule; where that is equal shares, equal shares are the same training.
    equal = 0 if options.training.sampling == "equal" else groups
    several = {"single_task": tasks, RANDOM: groups, EQUAL: equal}
    return groups + sum(several.get(control, 1) for control in options.confirm.controls)


def confirm_trials(options: StudyOptions) -> int:
    """The most trials confirm takes: one per seed and model."""
    return options.confirm.seeds * confirm_models(options)


@dataclass(frozen=True)
class TrialShares:
    """The trials of a budget by purpose."""

    confirm: int
    search: int
    control: int  # of a control that searches by itself, as many as the search has


def divide_trials(options: StudyOptions, limit: int) -> TrialShares:
    """How a study that begins would divide ``limit`` trials."""
    confirm, is_controlled = min(limit, confirm_trials(options)), has_equal_cost(options)
    search = count_search_trials(limit - confirm, is_controlled)
    return TrialShares(confirm, search, search if is_controlled else 0)


def _list_levers(options: StudyOptions) -> list[str]:
    """The keys that can be lowered to need fewer trials."""
    levers = ["confirm.seeds", "confirm.controls"]
    levers += ["confirm.leave_one_out"] if options.confirm.leave_one_out else []
    levers += ["models"] if options.objective else []
    return levers + (["search_seeds"] if options.search_seeds > 1 else [])


def check_budget(options: StudyOptions, fewest: int) -> None:
    """Raise ``BudgetTooSmall`` where a budget in trials cannot pay for confirm and ``fewest`` search trials."""
    limit, confirm = options.budget.trials, confirm_trials(options)
    control = fewest if has_equal_cost(options) else 0
    if limit is not None and limit < (needed := confirm + fewest + control):
        arms, models = confirm_arms(options), confirm_models(options)
        each = f"{arms} arms" if models == arms else f"{models} models in {arms} arms"
        raise BudgetTooSmall(
            f"budget.trials: {limit}, but confirm takes {confirm} ({options.confirm.seeds} seeds × {each}) and "
            f"{options.selector.name} at least {fewest}{f', and {EQUAL_COST} as many' if control else ''}; "
            f"set it to {needed} or more, or lower {', '.join(_list_levers(options))}"
        )


def check_confirm(limit: int | None, trained: int, owed: int) -> None:
    """Raise ``BudgetTooSmall`` where an answer that stands is to be confirmed by more trials than there are left.

    That happens to a finished study whose ``confirm`` was changed.
    """
    if limit is not None and owed and trained + owed > limit:
        raise BudgetTooSmall(
            f"budget.trials: {limit}, of which {trained} were trained; what `confirm` now asks for takes {owed} more; "
            f"set it to {trained + owed} or more"
        )
