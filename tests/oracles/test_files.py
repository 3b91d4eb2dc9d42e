"""Questions in files: what spreadsheets make of them is understood, or refused line by line."""

import contextlib
import csv
import io
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.data import tables
from aljax.errors import InvalidInputError
from aljax.oracles import Batch, Question, Setting, Waiting
from aljax.oracles import files as by_files
from aljax.records import journal, selections

CLASSES = ("cat", "dog")
FILES = ["a/1.png", "a/ü 2.png", "b,3.png", "b;4.png"]


def sha256(file):
    return f"{FILES.index(file):064}"


@pytest.fixture
def workdir(tmp_path):
    """Makes a run directory in which cycle 2 asks about four images."""
    count = len(FILES)
    batch = np.arange(count, dtype=np.int32)
    details = {"files": np.array(FILES), "file_sha256": np.array([sha256(file) for file in FILES])}
    none = np.empty(0, np.float32)
    chosen = selections.Selections(batch, batch, batch, batch, none, {}, {}, details)
    selections.save(selections.path_of(tmp_path, 0, 2), chosen)
    return tmp_path


def ask(workdir):
    """Starts the command anew: reads the files, and asks."""
    by_files.take_all(workdir, CLASSES)
    questions = tuple(
        Question(file, workdir / file, sha256(file), rank, 0.25, "cat", 0.75, "margin")
        for rank, file in enumerate(FILES, start=1)
    )
    with by_files.oracle(Setting(workdir, workdir, CLASSES, 0, "margin")) as session:
        session.ask(Batch(2, questions))


def asked(workdir):
    with pytest.raises(Waiting):
        ask(workdir)
    return workdir / "asked" / "cycle-02.csv"


def answers(workdir):
    return [(one.file, one.label or one.answer) for one in journal.read(workdir)]


def test_the_file_holds_the_questions_and_says_what_to_do(workdir):
    with pytest.raises(
        Waiting, match=r"cycle-02\.csv: fill in .* 4 rows with cat, dog, skip or unsure; then"
    ):
        ask(workdir)
    path = asked(workdir)
    assert path.read_text().splitlines()[:2] == [
        "file,rank,score,guess,probability,label",
        "a/1.png,1,0.25,cat,0.7500,",
    ]
    assert answers(workdir) == []


def spreadsheet(
    labels, divider=",", ending="\r\n", encoding="utf-8", heading="label", quoting=csv.QUOTE_MINIMAL
):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=divider, lineterminator=ending, quoting=quoting)
    writer.writerow(["file", "rank", "score", "guess", "probability", heading])
    for rank, (file, label) in enumerate(labels, start=1):
        writer.writerow([file, rank, "0,25", "cat", "0,75", label])
    return text.getvalue().encode(encoding)


LABELED = list(zip(FILES, ["cat", "dog", "skip", "unsure"], strict=True))
TABLE = "file,label\n" + "".join(f'"{file}",{label}\n' for file, label in LABELED)


@pytest.mark.parametrize(
    "content",
    [
        spreadsheet(LABELED),
        spreadsheet(LABELED, ending="\n"),
        spreadsheet(LABELED, ending="\r"),
        spreadsheet(LABELED, encoding="utf-8-sig"),
        spreadsheet(LABELED, ";", encoding="utf-8-sig"),
        spreadsheet(LABELED, ";", encoding="cp1252"),
        spreadsheet(LABELED, "\t", encoding="utf-16"),
        spreadsheet(LABELED, quoting=csv.QUOTE_ALL),
        spreadsheet(LABELED[::-1]),
        spreadsheet(LABELED, heading=" Label "),
        b"sep=;\r\n" + spreadsheet(LABELED, ";"),
        spreadsheet([(file.replace("/", "\\"), f" {label} ") for file, label in LABELED]),
        spreadsheet([(f"./{file}", label) for file, label in LABELED]),
        spreadsheet(LABELED) + b",,,,,,,\r\n\r\n",
        TABLE.replace("\n", ",a remark,\n").encode(),
        b"".join(
            b'{"file": "%s", "label": "%s"}\n' % (file.encode(), label.encode()) for file, label in LABELED
        ),
    ],
    ids=lambda content: repr(content[:24]),
)
def test_what_spreadsheets_and_editors_write_is_understood(workdir, content):
    asked(workdir).write_bytes(content)
    ask(workdir)
    assert sorted(answers(workdir)) == sorted(LABELED)
    ask(workdir)  # reads no cell twice
    assert len(answers(workdir)) == 4


def test_a_part_of_a_batch_is_enough_and_the_rest_may_come_later(workdir):
    path = asked(workdir)
    path.write_bytes(spreadsheet([*LABELED[:2], (FILES[2], "")]))
    ask(workdir)
    assert answers(workdir) == LABELED[:2]
    path.write_bytes(spreadsheet([(FILES[0], "dog"), LABELED[1], LABELED[3]]))
    ask(workdir)
    assert answers(workdir) == [*LABELED[:2], (FILES[0], "dog"), LABELED[3]]
    path.write_bytes(spreadsheet([(FILES[0], "")]))  # the label is taken back; what has no row stays
    ask(workdir)
    assert answers(workdir)[-1] == (FILES[0], "undo")


def test_a_cell_that_was_read_does_not_undo_a_later_correction(workdir):
    asked(workdir).write_bytes(spreadsheet(LABELED))
    ask(workdir)
    journal.append(workdir, journal.read(workdir)[0]._replace(label="dog", who="ben"))
    ask(workdir)
    assert journal.standing(journal.read(workdir))[FILES[0]].label == "dog"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            (FILES[0], "Cat"),
            r":2: label 'Cat': did you mean 'cat'\?; accepted: cat, dog, skip, uns",
        ),
        ((FILES[0], "bird"), r":2: label 'bird': accepted: cat, dog, skip, unsure"),
        (("b/9.png", "cat"), r":2: file 'b/9\.png': is not one of the images that were asked"),
    ],
)
def test_a_wrong_line_is_named_and_the_others_are_kept(workdir, row, reason):
    path = asked(workdir)
    path.write_bytes(spreadsheet([row, LABELED[1], LABELED[2]]))
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=reason):
            ask(workdir)
        assert answers(workdir) == LABELED[1:3]
    path.write_bytes(spreadsheet(LABELED[:3]))
    ask(workdir)
    assert answers(workdir) == [LABELED[1], LABELED[2], LABELED[0]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has no column 'file'"),
        (b"name,class\na,b\n", "has no column 'file'"),
        (b"file;class\na;b\n", "has no column 'label'"),
        (b'{"file": "a"}\n', "line 1: is no object with file and label"),
        (b'{"file": "a", "label": ', "line 1: "),
    ],
)
def test_what_is_no_table_is_refused(workdir, content, reason):
    asked(workdir).write_bytes(content)
    with pytest.raises(InvalidInputError, match=reason):
        ask(workdir)


def test_answers_of_two_people_are_both_kept(workdir):
    text = f"file,label,who\n{FILES[0]},cat,anna\n{FILES[0]},dog,ben\n"
    asked(workdir).write_text(text)
    ask(workdir)
    ask(workdir)
    assert [(one.who, one.label) for one in journal.read(workdir)] == [("anna", "cat"), ("ben", "dog")]


cells = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff"), max_size=8)
names = cells.filter(lambda text: text.strip() and not text.lstrip().startswith("{"))


@settings(deadline=None)
@given(
    st.lists(st.tuples(names, cells), min_size=1, max_size=4),
    st.sampled_from(tables.DIVIDERS),
    st.sampled_from(["\r\n", "\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_every_table_comes_back_as_it_was_written(rows, divider, ending, encoding):
    content = spreadsheet(rows, divider, ending, encoding)
    found = [(row.file, row.label) for row in tables.rows(content)]
    assert found == [(file, unicodedata.normalize("NFC", label.strip())) for file, label in rows]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_are_refused(content):
    with contextlib.suppress(ValueError):
        assert all(row.file.strip() for row in tables.rows(content))


@pytest.mark.parametrize("content", ["[]", '{"cycle-01.csv": []}', "{", "[" * 100_000])
def test_what_was_read_before_is_refused_where_it_is_damaged(tmp_path, content):
    (tmp_path / by_files.FOLDER).mkdir()
    (tmp_path / by_files.FOLDER / by_files.READ).write_text(content)
    with pytest.raises(InvalidInputError, match=r"read\.json: damaged \(.*; accepted: the file that aljax"):
        by_files.read_before(tmp_path)
