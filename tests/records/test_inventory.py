"""Images by name and content: which answer counts for which, and what has changed."""

import pytest

from aljax.errors import InvalidInputError
from aljax.records import inventory
from aljax.records.inventory import JUDGE, TRAIN, Image
from aljax.records.journal import Answer


def said(file, sha256, label, who="", cycle=1, kind="label"):
    return Answer(file, sha256, kind, label, cycle, who, 1.0, "2026-01-01T00:00:00Z")


def test_the_list_of_images_comes_back_and_its_changes_are_named(tmp_path):
    assert inventory.read(tmp_path) == []
    before = [
        Image("a,1.png", "1" * 64, TRAIN),
        Image('ä "2".png', "2" * 64, JUDGE),
        Image("c", "3" * 64, TRAIN),
    ]
    assert inventory.update(tmp_path, before) == []
    assert inventory.read(tmp_path) == before
    now = [Image("b.png", "1" * 64, TRAIN), Image("c", "4" * 64, TRAIN), Image("d", "5" * 64, TRAIN)]
    found = inventory.update(tmp_path, now)
    assert found == [
        {"what": "renamed", "name": "b.png", "before": "a,1.png"},
        {"what": "replaced", "name": "c", "before": "3" * 64},
        {"what": "added", "name": "d", "before": ""},
        {"what": "removed", "name": "", "before": 'ä "2".png'},
    ]
    assert inventory.in_words(found) == "1 renamed, 1 replaced, 1 added, 1 removed"
    assert inventory.update(tmp_path, now) == []


def test_a_damaged_list_is_refused(tmp_path):
    (tmp_path / inventory.NAME).write_bytes(b"name\nx\n")
    with pytest.raises(InvalidInputError, match=r"images\.csv: damaged"):
        inventory.read(tmp_path)


def test_an_answer_belongs_to_a_name_and_a_content():
    answers = [said("a", "1", "cat"), said("b", "2", "dog"), said("c", "3", "cat"), said("a", "1", "dog")]
    counting = inventory.standing({"a": "1", "b": "9", "moved": "3", "copy": "1"}, answers)
    assert {file: answer.label for file, answer in counting.items()} == {"a": "dog", "moved": "cat"}


def test_an_answer_that_was_taken_back_gives_way_to_the_one_before():
    answers = [said("a", "1", "cat"), said("a", "1", "dog"), said("a", "1", "", kind="undo")]
    assert inventory.standing({"a": "1"}, answers)["a"].label == "cat"
    assert inventory.standing({"now": "1"}, answers)["now"].label == "cat"


def test_contradictions_are_those_of_people_and_the_counting_label_is_last():
    answers = [
        said("a", "1", "cat", cycle=0),
        said("a", "1", "dog", "anna"),
        said("a", "1", "cat", "ben"),
        said("a", "1", "dog", "anna"),
        said("b", "2", "cat", "anna"),
        said("b", "2", "dog", "anna"),
    ]
    found = inventory.contradictions({"a": "1", "b": "2"}, answers)
    assert {file: list(labels.items()) for file, labels in found.items()} == {
        "a": [("ben", "cat"), ("anna", "dog")]
    }
