import csv
import io
import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aljax.data.names import natural, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat/1.png", "cat/1.png"),
        ("a b.png", "a b.png"),
        ("e\u0301t\u00e9.png", "\u00e9t\u00e9.png"),  # one decomposed, one not
        ("고양이.png", "고양이.png"),
        ("Screenshot 9.41\u202fAM.png", "Screenshot 9.41\u202fAM.png"),
        (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"),
        ("two\nlines.png", "two\\nlines.png"),
        ("bell\x07.png", "bell\\x07.png"),
        ("line\u2028.png", "line\\u2028.png"),
    ],
)
def test_names_are_printable(name, shown):
    assert printable(name) == shown


@given(st.binary(min_size=1, max_size=40).map(os.fsdecode))
@example("\ud800")
@example("\udcba\u0300")  # a mark after what is escaped goes with the escape's last letter
def test_any_name_survives_json_and_csv(name):
    shown = printable(name)
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
    text = io.StringIO()
    csv.writer(text).writerow([shown])
    assert next(csv.reader(io.StringIO(text.getvalue().encode().decode()))) == [shown]
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown


@given(
    st.lists(st.text(), unique=True).flatmap(lambda names: st.tuples(st.just(names), st.permutations(names)))
)
def test_natural_order_is_an_order(case):
    names, others = case
    assert sorted(names, key=natural) == sorted(others, key=natural)


def test_natural_order():
    names = ["class10", "class2", "a", "10", "9", "class2b", "B", "class02"]
    assert sorted(names, key=natural) == ["9", "10", "B", "a", "class02", "class2", "class2b", "class10"]
