"""Lines of .jsonl files: JSON objects that end with a checksum of their own.

The last field of a line, "sha256", holds the first 16 hexadecimal digits of the SHA-256 of the line as
it would be written without that field: `{"trial": 0, "cycle": 1}` gives `{"trial": 0, "cycle": 1,
"sha256": "..."}`. It covers every byte of the line, and is no part of the record. Where "sha256" is a
field of the record itself, the checksum has another name.
"""

import hashlib
import json
import math
import re
from typing import Any, NoReturn

Record = dict[str, Any]

CHECKSUM = "sha256"
WHOLE = ("trial", "cycle")  # fields that are whole numbers wherever they are

_LINE = re.compile(rb'(\{.*)"([a-z0-9_]+)": "([0-9a-f]{16})"\}\n', re.DOTALL)


def encoded(record: Record, checksum: str = CHECKSUM) -> bytes:
    """Returns a record as its line; raises ValueError if a number in it is not finite."""
    text = json.dumps(record, allow_nan=False).encode()
    separator = b", " if record else b""
    return b'%s%s"%s": "%s"}\n' % (text[:-1], separator, checksum.encode(), digest(text).encode())


def decoded(line: bytes, checksum: str = CHECKSUM) -> Record:
    """Returns the record of a line, without its field `checksum`.

    Raises:
      ValueError: if the line is not as it was written, with the reason.
    """
    match = _LINE.fullmatch(line)
    if match is None or match[2].decode() != checksum:
        raise ValueError("it does not end with a checksum, as every line does since 0.1.0")
    content = match[1].removesuffix(b", ") + b"}"
    if digest(content) != match[3].decode():
        raise ValueError("its checksum differs")
    record = parsed(content)
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    for name in WHOLE:
        if type(record.get(name, 0)) is not int:
            raise ValueError(f"{name} is {record[name]!r}, not a whole number")
    return record


def parsed(content: bytes) -> Any:
    """Parses JSON whose numbers are all finite; raises ValueError, with the reason, for anything else."""
    try:
        return json.loads(content, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def digest(content: bytes) -> str:
    """Returns the checksum of some content."""
    return hashlib.sha256(content).hexdigest()[:16]


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")
