"""Tests of the journal of answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aljax.errors import InvalidInputError
from aljax.records import journal
from aljax.records.journal import Answer


def answer(file, kind="label", label="cat"):
    return Answer(file, "ab" * 32, kind, label if kind == "label" else "", 1, "", 1.5, "2026-01-01T00:00:00Z")


def test_answers_come_back_as_they_were_given_and_survive_a_torn_line(tmp_path):
    given = [answer("ä/1.png"), answer("b.png", "skip"), answer("ä/1.png", label='"dog"\n')]
    journal.append(tmp_path, *given[:2])
    journal.append(tmp_path, given[2])
    assert journal.read(tmp_path) == given
    with (tmp_path / journal.NAME).open("ab") as file:
        file.write(b'{"file": "c.png", "sha')
    assert journal.read(tmp_path) == given


def test_no_flipped_byte_is_read(tmp_path):
    journal.append(tmp_path, answer("a.png"))
    content = (tmp_path / journal.NAME).read_bytes()
    for place in range(0, len(content) - 1, 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / journal.NAME).write_bytes(bytes(damaged))
        with pytest.raises(InvalidInputError, match=r"labels\.jsonl:1: damaged"):
            journal.read(tmp_path)


def test_the_last_answer_counts_and_undo_takes_it_back():
    answers = [answer("a", label="cat"), answer("b", "skip"), answer("a", label="dog")]
    assert {file: one.label for file, one in journal.standing(answers).items()} == {"a": "dog", "b": ""}
    undone = [*answers, answer("a", "undo"), answer("b", "undo"), answer("b", "undo")]
    assert {file: one.label for file, one in journal.standing(undone).items()} == {"a": "cat"}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(journal.ANSWERS)), max_size=12))
def test_files_do_not_touch_each_other(steps):
    answers = [answer(file, kind, label=str(number)) for number, (file, kind) in enumerate(steps)]
    of_a = [one for one in answers if one.file == "a"]
    assert journal.standing(answers).get("a") == journal.standing(of_a).get("a")
