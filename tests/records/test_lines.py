import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aljax.records import lines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(
    st.text().filter(lambda name: name not in (lines.CHECKSUM, *lines.WHOLE)), VALUES, max_size=5
)


def test_a_line_is_json_that_ends_with_the_digest_of_the_rest():
    line = lines.encoded({"trial": 0, "cycle": 1})
    expected = hashlib.sha256(b'{"trial": 0, "cycle": 1}').hexdigest()[:16]
    assert line == b'{"trial": 0, "cycle": 1, "sha256": "%s"}\n' % expected.encode()
    assert list(json.loads(line)) == ["trial", "cycle", "sha256"]
    assert lines.decoded(lines.encoded({})) == {}


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record):
    line = lines.encoded(record)
    assert line.count(b"\n") == 1
    assert lines.decoded(line) == record


def test_every_flip_of_a_bit_and_every_cut_is_noticed():
    line = lines.encoded({"trial": 0, "cycle": 1, "accuracy": 0.8125, "strategy": "margin, cosé"})
    damaged = [line[:place] for place in range(len(line))]
    for place in range(len(line)):
        for bit in range(8):
            altered = bytearray(line)
            altered[place] ^= 1 << bit
            damaged.append(bytes(altered))
    for one in damaged:
        with pytest.raises(ValueError, match=r"its checksum differs|it does not end with a checksum"):
            lines.decoded(one)


def sealed(content):
    """Returns JSON as a line with a checksum that is right."""
    return b'%s, "sha256": "%s"}\n' % (content[:-1], lines.digest(content).encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"C": NaN}', "NaN is not a finite number"),
        (b'{"C": -Infinity}', "-Infinity is not a finite number"),
        (b'{"C": 1e999}', "1e999 is not a finite number"),
        (b'{"cycle": 1.0}', "cycle is 1.0, not a whole number"),
        (b'{"cycle": true}', "cycle is True, not a whole number"),
        (b'{"trial": null}', "trial is None, not a whole number"),
        (b'{"C": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deep"),
        (b'{"C": 1,}', "Expecting|Illegal"),
        (b'{"C": \xff}', "utf-8"),
    ],
)
def test_what_is_no_number_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        lines.decoded(sealed(content))
