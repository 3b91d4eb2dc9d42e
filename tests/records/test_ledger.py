"""What quick cycles write reaches the disk and the manifest together; slow ones by themselves."""

import os

import pytest

from aljax.errors import RunError
from aljax.records import files, ledger, manifest


@pytest.fixture
def synced(monkeypatch):
    """The files and folders whose content was brought to the disk, by their inodes' order."""
    found = []
    original = os.fsync

    def noting(descriptor):
        found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="reads names of open files from /proc")
def test_of_quick_cycles_all_is_settled_at_once_and_at_the_end(tmp_path, synced, monkeypatch):
    manifest.write(tmp_path, whole=False)
    monkeypatch.setattr(ledger, "SECONDS", 1000.0)
    names = [f"chosen/trial-00/cycle-{cycle:02d}.csv" for cycle in (1, 2, 3)]
    with ledger.kept(tmp_path) as kept:
        synced.clear()
        for name in names:
            files.write(tmp_path / name, name.encode())
            assert not any(path.endswith(name) for path in synced[-1:])
            kept.enter([name])
        assert manifest.load(tmp_path).files.keys() == {names[0]}  # the first at once: it may take long
    assert manifest.load(tmp_path).files.keys() == set(names)
    assert {str(tmp_path / name) for name in names} <= set(synced)
    assert synced.count(str(tmp_path / "chosen" / "trial-00")) == 2  # and not once for each file


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="reads names of open files from /proc")
def test_of_slow_cycles_each_is_settled_by_itself(tmp_path, synced, monkeypatch):
    manifest.write(tmp_path, whole=False)
    monkeypatch.setattr(ledger, "SECONDS", 0.0)
    with ledger.kept(tmp_path) as kept:
        for name in ("chosen/trial-00/cycle-01.csv", "chosen/trial-00/cycle-02.csv"):
            files.write(tmp_path / name, name.encode())
            kept.enter([name])
            assert str(tmp_path / name) in synced
            assert name in manifest.load(tmp_path).files


def test_where_a_run_stops_what_it_wrote_is_entered(tmp_path, monkeypatch):
    manifest.write(tmp_path, whole=False)
    monkeypatch.setattr(ledger, "SECONDS", 1000.0)

    def stopping():
        with ledger.kept(tmp_path) as kept:
            kept.enter()
            files.write(tmp_path / "chosen" / "trial-00" / "cycle-01.csv", b"file\n")
            kept.enter(["chosen/trial-00/cycle-01.csv"])
            raise KeyError

    with pytest.raises(KeyError):
        stopping()
    assert manifest.load(tmp_path).files.keys() == {"chosen/trial-00/cycle-01.csv"}


def test_what_does_not_reach_the_disk_is_told_in_one_line(tmp_path):
    with files.together():
        files.write(tmp_path / "gone.csv", b"file\n")
        (tmp_path / "gone.csv").unlink()
        with pytest.raises(RunError, match=r"gone\.csv: could not be written \(No such file"):
            files.settle()
