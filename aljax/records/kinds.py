"""The kinds of values that the lines of a run's .jsonl files hold, as those that read them take for granted.

A checksum says that a line is as it was written, not what it was written by.
"""

from collections.abc import Callable, Iterator
from typing import Any

from aljax.records.lines import Record

Test = Callable[[Any], bool]


def _number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) < 2**63)


def _text(value: Any) -> bool:
    return value is None or type(value) is str


def _texts(value: Any) -> bool:
    return value is None or (type(value) is list and all(type(one) is str for one in value))


def _numbers(value: Any) -> bool:
    return value is None or (type(value) is dict and all(map(_number, value.values())))


def _counts(value: Any) -> bool:
    if value is None:
        return True
    return type(value) is dict and all(
        type(counts) is list and all(type(count) is int and 0 <= count < 2**63 for count in counts)
        for counts in value.values()
    )


NUMBER, TEXT = (_number, "a number or null"), (_text, "a text or null")
NUMBERS, COUNTS = (_numbers, "numbers by name, or null"), (_counts, "whole numbers by name, or null")
TEXTS = (_texts, "a list of texts, or null")
OF_BATCHES = ("pool", "uncertainty", "diversity")
_MEASURES = (
    *("labeled", "budget", "subset_size", "overlap", "chance", "accuracy", "C", "kappa", "jaccard"),
    *("p_value", "test_loss", "train_loss", "ties", "epochs", "retries", "seen", "queried", "stability"),
    *("validation_accuracy", "spearman"),
)
KINDS: dict[str, dict[str, tuple[Test, str]]] = {
    "cycles.jsonl": {
        **dict.fromkeys(_MEASURES, NUMBER),
        **dict.fromkeys(("uncertainty", "diversity", "acquired", "stopped", "selections_sha256"), TEXT),
        "doubts": TEXTS,
    },
    "pairs.jsonl": {**dict.fromkeys(_MEASURES, NUMBER), "a": TEXT, "b": TEXT},
    "diagnostics.jsonl": {
        **dict.fromkeys(("distance", "radius", "spearman", "entropy"), NUMBERS),
        "classes": COUNTS,
    },
    "timings.jsonl": dict.fromkeys(("recover", "score", "select", "diagnose", "train", "evaluate"), NUMBER),
}
NEEDED = {"pairs.jsonl": ("a", "b")}


def problems(name: str, record: Record) -> Iterator[str]:
    """Yields what is wrong with the values in a line of a file, by the file's name."""
    for field, (accepts, accepted) in KINDS.get(name, {}).items():
        if field in record and not accepts(record[field]):
            yield f"{field} is {record[field]!r:.60}, not {accepted}"
    for field in NEEDED.get(name, ()):
        if record.get(field) is None:
            yield f"it lacks {field}"
    for field in ("trial", "cycle"):
        if name in KINDS and not (type(record.get(field)) is int and 0 <= record[field] < 2**31):
            yield f"{field} is {record.get(field)!r:.60}, not a number from 0"
