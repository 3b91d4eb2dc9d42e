"""Doubts about a cycle's numbers, by lines made by hand and by a run that cannot learn."""

import math

import numpy as np
import pytest

from aljax.experiment import loop, sanity
from aljax.records import files
from tests.harness import small

SOUND = {"accuracy": 0.5, "test_loss": 1.5, "train_loss": 0.1, "budget": 20}
LABELED, TEST = np.array([3, 5, 2]), np.array([30, 40, 30])


def test_a_sound_cycle_raises_no_doubt():
    assert sanity.doubts(SOUND | {"accuracy": 0.51}, LABELED, TEST) == []
    assert sanity.doubts(SOUND | {"accuracy": 0.51, "ties": 100}, LABELED, TEST, drawn=10) == []


def test_a_batch_that_is_mostly_ties_is_doubted():
    (found,) = sanity.doubts(SOUND | {"accuracy": 0.51, "ties": 100}, LABELED, TEST, drawn=11)
    assert found == "11 of the batch of 20 were drawn among 100 images of equal score"


@pytest.mark.parametrize(
    ("line", "labeled", "doubt"),
    [
        # Of 100 test images 40 are of one class; two standard errors are 2 sqrt(0.4 * 0.6 / 100) = 0.098.
        ({"accuracy": 0.49}, LABELED, "the accuracy of 49.0% is no better than chance: 40.0% of the test"),
        ({"test_loss": 2.2}, LABELED, "the test loss of 2.20 is far above ln 3 = 1.10"),
        ({"train_loss": math.log(3)}, LABELED, "the training loss of 1.10 has not fallen below ln 3 = 1.10"),
        ({}, np.array([0, 9, 0]), "all labeled images are of one class"),
    ],
)
def test_each_reason_has_its_sentence(line, labeled, doubt):
    (found,) = sanity.doubts(SOUND | {"accuracy": 0.51} | line, labeled, TEST)
    assert found.startswith(doubt)


def test_a_run_that_cannot_learn_says_so_in_its_lines_and_in_the_log(tmp_path, caplog):
    fields = {"train.epochs": 1, "train.learning_rate": 1e-9, "train.milestones": ()}
    fields |= {"train.detach_epoch": 0.5, "trials": 1, "cycles": 2}
    loop.run(small(**fields), tmp_path)
    lines, _ = files.read_lines(tmp_path / "cycles.jsonl")
    for line in lines:
        assert any("the training loss of" in doubt for doubt in line["doubts"])
        for doubt in line["doubts"]:
            assert caplog.text.count(f"trial 0, cycle {line['cycle']}: {doubt}") == 1
    assert "no better than chance" in " ".join(lines[1]["doubts"])
