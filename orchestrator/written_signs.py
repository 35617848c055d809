r"""Replaces characters that an output cannot encode: Latin-1 has no ``≥``, and ASCII no ``ü``.

Done once for all output, in the streams themselves. Our own signs become what one would type for them; any other
character becomes its ``\uXXXX``, which JSON reads as that character. Under ``--json`` all become that.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable, Sequence
from encodings.ascii import IncrementalDecoder, IncrementalEncoder

_HANDLER, _ESCAPING = "auxtune.signs", "auxtune.escapes"
_PLAIN = "auxtune-ascii"  # a codec: ASCII, under a name that Click leaves alone
_TYPED = {
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "≠": "!=",
    "±": "+/-",
    "×": "x",
    "·": ".",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "←": "<-",
    "↑": "^",
    "↓": "v",
    "•": "*",
    "●": "*",
    "○": "o",
    "✓": "x",
    "✗": "-",
    "√": "sqrt ",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{FIGURE SPACE}": " ",
    "\N{THIN SPACE}": " ",
}
_HORIZONTAL, _VERTICAL = "─━┄┅┈┉╌╍═╴╶╸╺╼╾", "│┃┆┇┊┋╎╏║╵╷╹╻╽╿"


def write_any_sign(arguments: Sequence[str]) -> None:
    """Let standard output and error write whatever is printed by the command that ``arguments`` ask for."""
    codecs.register_error(_HANDLER, lambda error: _replace_signs(error, _type_sign))
    codecs.register_error(_ESCAPING, lambda error: _replace_signs(error, _escape_sign))
    codecs.register(_find_codec)
    handler = _ESCAPING if "--json" in arguments else _HANDLER
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Click takes an output that says it is ASCII for a mistake, and writes UTF-8 to it.
            ascii_only = codecs.lookup(stream.encoding).name in ("ascii", _PLAIN)
            stream.reconfigure(encoding=_PLAIN if ascii_only else stream.encoding, errors=handler)


def _type_sign(sign: str) -> str:
    if sign in _TYPED:
        return _TYPED[sign]
    if "\u2500" <= sign <= "\u257f":  # box drawing
        return "-" if sign in _HORIZONTAL else "|" if sign in _VERTICAL else "+"
    if "\u2580" <= sign <= "\u259f":  # blocks
        return "#"
    return _escape_sign(sign)


def _escape_sign(sign: str) -> str:
    r"""``\uXXXX``, twice beyond the first 65,536 signs, as in JSON."""
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _replace_signs(error: UnicodeError, by: Callable[[str], str]) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(by, error.object[error.start : error.end])), error.end


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _PLAIN:
        return None
    return codecs.CodecInfo(
        codecs.ascii_encode,
        codecs.ascii_decode,
        incrementalencoder=IncrementalEncoder,
        incrementaldecoder=IncrementalDecoder,
        name=_PLAIN,
    )
