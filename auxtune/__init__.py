"""Finds which tasks to train together: ``from auxtune import Study``.

Each name is imported when it is asked for, so that whoever needs a selector alone loads no Ray and no torch.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auxtune.orchestrator import MixtureAdvisor, Study, simulate
    from auxtune.trials import load_model

__all__ = ["MixtureAdvisor", "Study", "load_model", "simulate"]

_HOMES = {
    "MixtureAdvisor": "auxtune.orchestrator",
    "Study": "auxtune.orchestrator",
    "simulate": "auxtune.orchestrator",
    "load_model": "auxtune.trials",
}
_here = Path(__file__).parent
if not (_here / "orchestrator").is_dir():  # installed they are in this folder; in a checkout they stand beside it
    __path__.append(str(_here.parent))


def __getattr__(name: str) -> Any:
    """A public name, from the folder that holds it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What may be asked for."""
    return sorted({*globals(), *__all__})
