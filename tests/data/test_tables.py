"""Tables of files and labels as people hand them in."""

import pytest

from aljax.data import tables


def test_a_label_that_is_the_number_zero_is_a_label():
    found = tables.rows(
        b'{"file": "a", "label": 0}\n{"file": "b", "label": null}\n{"file": "c", "label": " x "}'
    )
    assert [(row.file, row.label) for row in found] == [("a", "0"), ("b", ""), ("c", "x")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"file": "a", "label": 0.5}', r"line 1: label is 0\.5, neither a text nor a whole number"),
        (b'{"file": ["a"], "label": "x"}', r"line 1: file is \['a'\], neither"),
        (b'{"file": "a", "label": false}', r"line 1: label is False, neither"),
        (b"file,label\n\n ,x\n", r"line 3: names no file for its label 'x'"),
        (b"file,label,Label\na,x,y\n", r"has 2 columns 'label'"),
        (b"file,label\na,x\na, b,y\n", r"line 3: has 3 cells, and the headings are 2"),
        (b'file,label\n"a,x\nb,y\n', r"line 3: unexpected end of data"),
    ],
)
def test_what_would_be_lost_is_refused(content, reason):
    with pytest.raises(ValueError, match=reason):
        tables.rows(content)
