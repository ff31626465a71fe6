r"""Escapes such as `\n` in a prompt that was typed into a shell."""

import re
from typing import Final

__all__ = ["unescape"]

SIMPLE: Final = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}
ESCAPE: Final = re.compile(r"\\(?:([nrt'\"\\])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")


def unescape(text: str) -> str:
    r"""Replace `\n`, `\r`, `\t`, `\'`, `\"`, `\\`, `\xHH`, `\uHHHH` and `\UHHHHHHHH`; any other backslash stays.

    `\xHH` is the character with that number, not a byte. Numbers that are no character (surrogates, too large ones) stay as typed.
    """
    return ESCAPE.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    if found[1] is not None:
        return SIMPLE[found[1]]
    number = int(found[2] or found[3] or found[4], 16)
    if 0xD800 <= number <= 0xDFFF or number > 0x10FFFF:
        return found[0]
    return chr(number)
