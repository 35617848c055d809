"""The options of each probe, with their defaults: read by the probes and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auxtune.trials.probes.probe import Options, ProbeError


@dataclass(frozen=True)
class Whole:
    """An option that is a whole number of at least 1."""

    default: int


@dataclass(frozen=True)
class OneOf:
    """An option that is one of a few words; the first is the default."""

    words: tuple[str, ...]


OPTIONS: Mapping[str, Mapping[str, Whole | OneOf]] = {
    "head_importance": {
        "form": OneOf(("mask", "key_value")),
        "sliced": OneOf(("output", "input")),
        "split": OneOf(("probe", "train")),
    },
    "instance_importance": {"form": OneOf(("mask", "key_value")), "sliced": OneOf(("output", "input"))},
    "hidden_states": {},
    "covariance": {"at": OneOf(("embeddings", "representation"))},
    "gradients": {"batches": Whole(8)},
    "label_moments": {},
    "output_gradients": {"rows": Whole(512), "size": Whole(200)},
    "lookahead": {"every": Whole(10), "step": OneOf(("sgd", "optimiser")), "order": OneOf(("exact", "first"))},
}


def chosen(probe: str, options: Options) -> dict[str, Any]:
    """Every option of ``probe``, defaults filled in.

    Raises ``ProbeError`` for an unknown probe, unknown names and illegal values.

    >>> chosen("lookahead", {"every": 5})
    {'every': 5, 'step': 'sgd', 'order': 'exact'}
    """
    if probe not in OPTIONS:
        raise ProbeError(f"recipe.probes: expected some of {', '.join(OPTIONS)}, found {probe!r}")
    known = OPTIONS[probe]
    for name in options:
        if name not in known:
            raise ProbeError(f"probes.{probe}: expected {_listed(known)}, found the option {name!r}")
    return {name: _checked(f"probes.{probe}.{name}", kind, options) for name, kind in known.items()}


def _checked(place: str, kind: Whole | OneOf, options: Options) -> Any:
    name = place.rpartition(".")[2]
    if isinstance(kind, OneOf):
        value = options.get(name, kind.words[0])
        if value not in kind.words:
            raise ProbeError(f"{place}: expected {' or '.join(kind.words)}, found {value!r}")
        return value
    value = options.get(name, kind.default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ProbeError(f"{place}: expected a whole number of at least 1, found {value!r}")
    return value


def _listed(known: Mapping[str, Any]) -> str:
    return f"some of {', '.join(known)}" if known else "no options"
