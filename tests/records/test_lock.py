import os
import shutil

import pytest

from aljax.errors import InvalidInputError, RunError
from aljax.records import directory, files, lock

ENVIRONMENT = {"versions": {}, "device": "1 x cpu"}
LINE = {"trial": 0, "cycle": 1}


def opened(workdir):
    return directory.opened(workdir, {"seed": 0}, ENVIRONMENT)


def linked(path):
    (path.parent / "target").write_text("kept")
    path.symlink_to("target")


KINDS = {
    "a link": (linked, "its .lock is a link"),
    "a broken link": (lambda path: path.symlink_to("nowhere"), "its .lock is a link"),
    "a folder": (lambda path: path.mkdir(), "its .lock is a folder"),
    "a pipe": (lambda path: os.mkfifo(path), "its .lock is not a regular file"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_that_is_no_file_is_refused_and_left_as_it_is(tmp_path, kind):
    make, message = KINDS[kind]
    make(tmp_path / lock.NAME)
    with pytest.raises(InvalidInputError, match=message), opened(tmp_path):
        pass
    assert os.listdir(tmp_path) == [lock.NAME] or (tmp_path / "target").read_text() == "kept"


def moved(workdir):
    workdir.rename(workdir.with_name("elsewhere"))


def replaced(workdir):
    shutil.copytree(workdir, workdir.with_name("copy"))
    moved(workdir)
    workdir.with_name("copy").rename(workdir)


@pytest.mark.parametrize(
    "change", [shutil.rmtree, moved, replaced, lambda workdir: (workdir / lock.NAME).unlink()]
)
def test_a_directory_that_is_removed_or_replaced_is_noticed_before_the_next_line(tmp_path, change):
    workdir = tmp_path / "run"
    with opened(workdir):
        directory.record(workdir, "cycles.jsonl", LINE)
        change(workdir)
        with pytest.raises(RunError, match="was removed or replaced while the run was at work"):
            directory.record(workdir, "cycles.jsonl", LINE)
    for path in tmp_path.glob("*/cycles.jsonl"):
        assert files.read_lines(path)[0] == [LINE]


def test_files_have_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "file", b"")
        with opened(tmp_path / "run"):
            pass
    finally:
        os.umask(before)
    for path in (tmp_path / "file", tmp_path / "run" / "config.json", tmp_path / "run" / lock.NAME):
        assert path.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_read_in_a_directory_that_has_gone_is_no_wrong_input(tmp_path):
    workdir = tmp_path / "run"

    def work():
        with opened(workdir):
            shutil.rmtree(workdir)
            files.read(workdir / "manifest.json")

    with pytest.raises(RunError, match="was removed or replaced while the run was at work"):
        work()
