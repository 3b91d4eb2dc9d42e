"""Names of images and classes: printable, the same on every system, in natural order."""

import os
import re
import unicodedata


def printable(name: str) -> str:
    """Returns a file's name as text that JSON, CSV and a terminal can hold.

    It is normalized (Unicode NFC), separators are "/", and control characters and bytes that are not
    UTF-8 (as `os.fsdecode` keeps them) are written as in "\\x1f".
    """
    if name.isascii() and name.isprintable() and os.sep == "/":
        return name
    return unicodedata.normalize("NFC", "".join(map(_escaped, name.replace(os.sep, "/"))))


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode()
    return character


def natural(name: str) -> tuple[list[str | int], str]:
    """Returns a key that sorts names by the values of the numbers in them: "class2" before "class10"."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
