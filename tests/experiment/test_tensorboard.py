import pytest

from aljax.errors import RunError
from aljax.experiment import tensorboard as module
from aljax.experiment.tensorboard import Curves
from tests.harness import events


def test_points_can_be_read_back(tmp_path):
    curves = Curves(tmp_path / "trial-00", step=3)
    curves.add(3, {"train/accuracy": 0.5, "train/cross_entropy": 1.5})
    curves.add(4, {"train/accuracy": 0.75})
    curves.close()
    (path,) = (tmp_path / "trial-00").iterdir()
    version, start, *points = events(path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (3, start.session_log.START)
    values = [
        (event.step, value.tag, value.simple_value) for event in points for value in event.summary.value
    ]
    assert values == [
        (3, "train/accuracy", 0.5),
        (3, "train/cross_entropy", 1.5),
        (4, "train/accuracy", 0.75),
    ]


@pytest.mark.parametrize(("seconds", "seen"), [(-1, [0, 1]), (60, [])])
def test_a_training_that_goes_on_can_be_looked_at(tmp_path, monkeypatch, seconds, seen):
    monkeypatch.setattr(module, "SECONDS", seconds)
    curves = Curves(tmp_path, step=0)
    for step in range(2):
        curves.add(step, {"train/accuracy": 0.5})
    (path,) = tmp_path.iterdir()
    assert [event.step for event in events(path) if event.summary.value] == seen
    curves.close()


def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    curves = Curves(tmp_path / "trial-00", step=0)

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curves._writer, "flush", full)
    with pytest.raises(RunError, match=r"trial-00: could not be written \(No space left on device\)"):
        curves.flush()
    monkeypatch.undo()
    curves.close()
