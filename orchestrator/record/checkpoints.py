"""Whether there is a checkpoint to go on from, without fetching one from an object store."""

from __future__ import annotations

from pathlib import Path

from auxtune.orchestrator.storage.object_path import ObjectPath


def there(folder: Path) -> bool:
    """Whether ``folder`` holds a whole checkpoint.

    A local one is read. An object is there whole or not at all, and its store keeps it from damage; should it be of no
    use all the same, whoever loads it says so.
    """
    from auxtune.trials.checkpoint import FILE, is_usable  # it loads torch, which not everybody needs

    return (folder / FILE).is_file() if isinstance(folder, ObjectPath) else is_usable(folder)
