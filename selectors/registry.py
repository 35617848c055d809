"""Selectors by name: ``"module:Class"`` text, imported when the name is used and not before.

A third party's selector arrives through the entry-point group ``auxtune.selectors`` of its own package:

    [project.entry-points."auxtune.selectors"]
    markov = "my_package.markov:Markov"

A plug-in may be broken in any way: its import may fail or end the process, its class may raise. Then it is unusable and
listed as broken (``Registry.list_broken``), and all others work.

Inner selectors (``Inner``), which steer inside a run, have a namespace of their own, group ``auxtune.inner_selectors``.
Every fact about a method is declared on its class or returned by ``wants``, so no code branches on a name.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from auxtune.selectors.border import IllegalAnswerError, check_answer
from auxtune.selectors.kit.options import Option, check_options, describe_options
from auxtune.selectors.protocol import JSON, Selector

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
class BrokenMethod:
    """A name that cannot be used, and why."""

    name: str
    broken: str


@dataclass(frozen=True)
class Registry:
    """Names of one kind of selector: those shipped here and an entry-point group of third parties."""

    kind: str  # what errors call it
    group: str
    shipped: Mapping[str, str]  # name -> "module:Class"

    def names(self) -> tuple[str, ...]:
        """All names, those shipped first; some may be broken."""
        return tuple(self._entries())

    def make(self, name: str, options: Mapping[str, JSON]) -> Selector:
        """The selector ``name`` with ``options``.

        Raises ``ValueError`` for an unknown name, one that is given twice and illegal options, ``ImportError`` where it
        is broken.
        """
        cls = self._load(name)
        with self._contain(name, expected=(ValueError,)):  # what is wrong with the options
            check_options(cls, options, where=self.kind)
            selector: Selector = cls(**options)
        with self._contain(name):
            check_answer("wants", None, selector.wants())
        return selector

    def describe(self) -> list[Method]:
        """The method table, in the order of ``names``, without those that are broken."""
        return [row for row in self._describe_all() if isinstance(row, Method)]

    def list_broken(self) -> list[BrokenMethod]:
        """The names that cannot be used, in the order of ``names``."""
        return [row for row in self._describe_all() if isinstance(row, BrokenMethod)]

    def _describe_all(self) -> Iterator[Method | BrokenMethod]:
        for name in self.names():
            try:
                cls = self._load(name)
                with self._contain(name):
                    method = _describe_method(name, cls)
            except (ValueError, ImportError) as error:
                yield BrokenMethod(name, str(error))
            else:
                yield method

    def _entries(self) -> dict[str, list[EntryPoint]]:
        """Name -> what is offered under it: more than one where a third party takes a name that is given."""
        entries = {name: [EntryPoint(name, value, self.group)] for name, value in self.shipped.items()}
        for entry in entry_points(group=self.group):
            entries.setdefault(entry.name, []).append(entry)
        return entries

    def _find(self, name: str) -> EntryPoint:
        entries = self._entries()
        if name not in entries:
            near = difflib.get_close_matches(name, entries, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{self.kind} must be one of {', '.join(entries)}, got {name!r}{hint}")
        entry, *others = entries[name]
        if others:
            both = " and ".join(map(_describe_origin, (entry, *others)))
            raise ValueError(f"{self.kind} {name!r} must be given once, got {both}; rename one")
        return entry

    def _load(self, name: str) -> type[Any]:
        entry = self._find(name)
        with self._contain(name):
            cls: type[Any] = entry.load()
        missing = [fact for fact in _FACTS if not hasattr(cls, fact)]
        if missing:
            raise ValueError(f"{self.kind} {name!r}, {_describe_origin(entry)}, must declare {', '.join(missing)}")
        return cls

    @contextmanager
    def _contain(self, name: str, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Turn whatever the code of selector ``name`` raises, ``sys.exit`` too, into an ``ImportError`` that names it.

        Errors that are ``expected`` pass.
        """
        try:
            yield
        except expected:
            raise
        except (Exception, SystemExit) as error:
            said = (
                str(error)
                if isinstance(error, ImportError | IllegalAnswerError)
                else f"{type(error).__name__}: {error}"
            )
            origin = _describe_origin(self._find(name))
            raise ImportError(f"{self.kind} {name!r}, {origin}, cannot be loaded: {said}") from error


def _describe_origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name if entry.dist else 'auxtune'}"


def _describe_method(name: str, cls: type[Any]) -> Method:
    wants = cls().wants()
    check_answer("wants", None, wants)
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
list_broken = SELECTORS.list_broken
