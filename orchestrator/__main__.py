"""``python -m auxtune.orchestrator`` is ``auxtune``."""

from __future__ import annotations

from auxtune.orchestrator.cli import main

if __name__ == "__main__":
    main()
