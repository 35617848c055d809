"""Selectors by name: ``"module:Class"`` text, imported when the name is used and not before.

A third party's selector arrives through the entry-point group ``auxtune.selectors`` of its own package:

    [project.entry-points."auxtune.selectors"]
    markov = "my_package.markov:Markov"

Inner selectors (``Inner``), which steer inside a run, have a namespace of their own, group ``auxtune.inner_selectors``.
Every fact about a method is declared on its class or returned by ``wants``, so no code branches on a name.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from auxtune.selectors.kit.options import Option, check_options, describe_options
from auxtune.selectors.protocol import JSON, Selector, Wants

_FACTS = ("paper", "wants")


@dataclass(frozen=True)
class Method:
    """One row of the method table."""

    name: str
    summary: str  # first line of the class's docstring
    paper: str | None  # None for a control
    answers: str  # subset, weights, rows, groups or ranking
    needs_primary: bool
    groups: bool  # answers a study without a primary
    needs: str | None  # of the data and the budget, for people
    costs: str | None  # in runs, for people
    avoid: str | None  # when not to use it, for people
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Registry:
    """Names of one kind of selector: those shipped here and an entry-point group of third parties."""

    kind: str  # what errors call it
    group: str
    shipped: Mapping[str, str]  # name -> "module:Class"

    def names(self) -> tuple[str, ...]:
        """All names, those shipped first. Raises ``ValueError`` for a name given twice."""
        return tuple(self._entries())

    def make(self, name: str, options: Mapping[str, JSON]) -> Selector:
        """The selector ``name`` with ``options``.

        Raises ``ValueError`` for an unknown name and for illegal options, ``ImportError`` where it cannot be loaded.
        """
        cls = self._load(name)
        check_options(cls, options, where=self.kind)
        selector: Selector = cls(**options)
        return selector

    def describe(self) -> list[Method]:
        """The method table, in the order of ``names``."""
        return [_describe_method(name, self._load(name)) for name in self.names()]

    def _entries(self) -> dict[str, EntryPoint]:
        entries = {name: EntryPoint(name, value, self.group) for name, value in self.shipped.items()}
        for entry in entry_points(group=self.group):
            if entry.name in entries:
                both = f"{_describe_origin(entries[entry.name])} and {_describe_origin(entry)}"
                raise ValueError(f"{self.kind} {entry.name!r} must be given once, got {both}; rename one")
            entries[entry.name] = entry
        return entries

    def _load(self, name: str) -> type[Any]:
        entries = self._entries()
        if name not in entries:
            near = difflib.get_close_matches(name, entries, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{self.kind} must be one of {', '.join(entries)}, got {name!r}{hint}")
        origin = _describe_origin(entries[name])
        try:
            cls: type[Any] = entries[name].load()
        except (ImportError, AttributeError) as error:
            raise ImportError(f"{self.kind} {name!r}, {origin}, cannot be loaded: {error}") from error
        missing = [fact for fact in _FACTS if not hasattr(cls, fact)]
        if missing:
            raise ValueError(f"{self.kind} {name!r}, {origin}, must declare {', '.join(missing)}")
        return cls


def _describe_origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name if entry.dist else 'auxtune'}"


def _describe_method(name: str, cls: type[Any]) -> Method:
    wants: Wants = cls().wants()
    return Method(
        name=name,
        summary=(inspect.getdoc(cls) or name).splitlines()[0],
        paper=cls.paper,
        answers=wants.answers,
        needs_primary="groups" not in wants.objectives,
        groups="groups" in wants.objectives,
        needs=getattr(cls, "needs", None),
        costs=getattr(cls, "costs", None),
        avoid=getattr(cls, "avoid", None),
        options=describe_options(cls),
    )


SELECTORS = Registry(
    kind="selector",
    group="auxtune.selectors",
    shipped={
        "auto": "auxtune.selectors.methods.auto:Auto",
        "single_task": "auxtune.selectors.methods.controls:SingleTask",
        "all_tasks": "auxtune.selectors.methods.controls:AllTasks",
        "random_subset": "auxtune.selectors.methods.controls:RandomSubset",
        "size_proportional": "auxtune.selectors.methods.controls:SizeProportional",
        "size_sqrt": "auxtune.selectors.methods.controls:SizeSqrt",
        "random_mixture": "auxtune.selectors.methods.random_mixture:RandomMixture",
        "random_groups": "auxtune.selectors.methods.random_groups:RandomGroups",
        "thompson": "auxtune.selectors.methods.thompson:Thompson",
        "gp_mixing": "auxtune.selectors.methods.gp_mixing:GPMixing",
        "autosem": "auxtune.selectors.methods.autosem:AutoSeM",
        "mixture_regression": "auxtune.selectors.methods.mixture_regression:MixtureRegression",
        "gradts_threshold": "auxtune.selectors.methods.gradts_threshold:GradTSThreshold",
        "gradts_trial": "auxtune.selectors.methods.gradts_trial:GradTSTrial",
        "gradts_instance": "auxtune.selectors.methods.gradts_instance:GradTSInstance",
        "covariance_similarity": "auxtune.selectors.methods.covariance_similarity:CovarianceSimilarity",
        "svd_reweighting": "auxtune.selectors.methods.svd_reweighting:SVDReweighting",
        "representation_gradient": "auxtune.selectors.methods.representation_gradient:RepresentationGradient",
        "tag": "auxtune.selectors.methods.tag:Tag",
        "exhaustive": "auxtune.selectors.methods.exhaustive:Exhaustive",
        "hoa": "auxtune.selectors.methods.hoa:HOA",
        "grad_tag": "auxtune.selectors.methods.grad_tag:GradTag",
        "linear_surrogate": "auxtune.selectors.methods.linear_surrogate:LinearSurrogate",
        "transfer_prior": "auxtune.selectors.methods.transfer_prior:TransferPrior",
    },
)
INNER = Registry(
    kind="inner",
    group="auxtune.inner_selectors",
    shipped={"beta_bandit": "auxtune.selectors.methods.beta_bandit:BetaBandit"},
)

make, names, describe, make_inner = SELECTORS.make, SELECTORS.names, SELECTORS.describe, INNER.make
