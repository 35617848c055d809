"""JSON that anyone may have written: read, or refused as ``ValueError``, whatever it holds.

Python's own reader raises ``RecursionError`` for what is nested too deeply, and refuses numbers of thousands of digits
with advice to change the interpreter.
"""

from __future__ import annotations

import json
from typing import Any

_ENDLESS = "Exceeds the limit"  # how Python's refusal of a long number begins


def parse_json(text: str | bytes) -> Any:
    """The value in ``text``. Raises ``ValueError``; where it is none of JSON, ``json.JSONDecodeError``."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if str(error).startswith(_ENDLESS):
            raise ValueError("it holds a number of thousands of digits") from None
        raise
