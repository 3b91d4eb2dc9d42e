import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aljax.cli import accuracy, embed, guard, report, select
from aljax.cli.guard import guarded
from aljax.errors import InvalidInputError, RunError
from tests.harness import finished_run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InvalidInputError("budget=0:\n accepted: 1"), 2, "aljax: budget=0: accepted: 1\n"),
        (RunError("diverged"), 1, "aljax: diverged\n"),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            "aljax: /x: cannot be used (Permission denied)\n",
        ),
        (OSError(28, "No space left on device"), 1, "aljax: standard output: cannot be used (No space left"),
    ],
)
def test_an_error_is_one_line_and_a_status(error, status, message, capsys, monkeypatch):
    def fails(arguments=None):
        raise error

    monkeypatch.setattr("aljax.cli.guard._close_output", lambda: None)
    assert guarded(fails)() == status
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1


def test_letters_that_the_terminal_lacks_are_escaped(monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    assert guarded(lambda arguments=None: print("1 ± 2") or 0)() == 0
    assert content.getvalue() == b"1 \\xb1 2\n"


@pytest.mark.parametrize(("redirected", "status"), [(">/dev/full", 1), (">&-", 0), (">&- 2>&-", 0)])
def test_standard_output_that_is_full_or_closed(redirected, status):
    code = "import sys; from aljax.cli.guard import guarded; sys.exit(guarded(lambda: print('x') or 0)())"
    code = code.replace("lambda:", "lambda _=None:")
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable, code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == status, done.stderr
    full = "aljax: standard output: cannot be used (No space left on device)\n"
    assert done.stderr == (full if status else "")


def test_an_output_replaces_nothing_that_is_read(tmp_path):
    run, photos = tmp_path / "run", tmp_path / "photos"
    for folder in (run, photos):
        folder.mkdir()
    for name in ("config.json", "labels.jsonl"):
        (run / name).touch()
    shard = photos / "part-0.npy"
    for out, inputs in [
        (run / "labels.jsonl", ()),
        (run / "new" / "x.csv", ()),
        (run, ()),
        (photos / "x.csv", (photos,)),
        (shard, (shard,)),
        (tmp_path / "run" / ".." / "photos" / "x.csv", (photos,)),
    ]:
        with pytest.raises(InvalidInputError, match=r"^--out='.*; accepted: a place outside of it$"):
            guard.output(out, *inputs)
    assert guard.output(tmp_path / "x.csv", run, photos) == tmp_path / "x.csv"
    assert guard.output(photos / "x.csv", shard) == photos / "x.csv"


def test_an_output_is_a_file_or_a_folder_as_it_is_meant(tmp_path):
    (tmp_path / "file").touch()
    for out, folder, problem in [
        (tmp_path, False, "is a folder; accepted: a file"),
        (tmp_path / "file", True, "is no folder; accepted: a folder"),
        (tmp_path / "file" / "x.csv", False, "is no folder; accepted: a file"),
        (tmp_path / "file" / "x", True, "is no folder; accepted: a folder"),
    ]:
        with pytest.raises(InvalidInputError, match=f"^--out='{out}': .*{problem}$"):
            guard.output(out, folder=folder)
    assert guard.output(tmp_path / "file") == tmp_path / "file"
    assert guard.output(tmp_path, folder=True) == tmp_path
    assert guard.output(tmp_path / "new" / "x", folder=True) == tmp_path / "new" / "x"


def test_an_output_is_a_regular_file_and_a_link_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    for out in ("/dev/null", tmp_path / "pipe", tmp_path / "circle"):
        with pytest.raises(InvalidInputError, match=f"^--out='{out}': is no regular file; accepted: a file$"):
            guard.output(Path(out))
    (tmp_path / "link").symlink_to("target")
    assert guard.output(tmp_path / "link") == tmp_path / "target"
    (tmp_path / "target").touch()
    assert guard.output(tmp_path / "link") == tmp_path / "target"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["select", "--help"], ["run", "--help"]])
def test_help_for_a_full_output_says_so(words):
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m aljax "$@" >/dev/full', sys.executable, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "aljax: standard output: cannot be used (No space left on device)\n"


def test_a_page_of_somebody_else_s_is_not_written_over(tmp_path, capsys, monkeypatch):
    runs = [str(finished_run(tmp_path / name)) for name in ("a", "b")]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "comparison.html").write_text("mine")
    assert report.main(runs) == 2
    said = capsys.readouterr().err
    assert said == "aljax: comparison.html: is there, and no page of aljax; accepted: with --out=FILE\n"
    assert (tmp_path / "comparison.html").read_text() == "mine"
    (tmp_path / "comparison.html").unlink()
    assert report.main(runs) == report.main(runs) == 0


def test_a_run_given_twice_is_no_comparison(tmp_path, capsys):
    run = finished_run(tmp_path / "run")
    for command in (report, accuracy):
        assert command.main([str(run), f"{run.parent}/./run", f"--out={tmp_path / 'out'}"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == f"aljax: {run}: is given twice; accepted: different run directories\n"
    assert not (tmp_path / "out").exists()


def test_commands_write_over_nothing_that_they_read(tmp_path, capsys):
    run, other = (finished_run(tmp_path / name) for name in ("run", "other"))
    shards = tmp_path / "shards"
    shards.mkdir()
    np.save(shards / "part-0.npy", np.eye(8, dtype=np.float32))
    np.save(tmp_path / "labeled.npy", np.eye(8, dtype=np.float32)[:1])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    labeled = f"--labeled={tmp_path / 'labeled.npy'}"
    for command, arguments, out in [
        (report, [run, other], run / "cycles.jsonl"),
        (accuracy, [run, other], other),
        (select, [shards, "--budget=2"], shards / "part-0.npy"),
        (select, [shards, "--budget=2", labeled], tmp_path / "labeled.npy"),
        (embed, [shards], run / "embeddings.npz"),
    ]:
        assert command.main([*map(str, arguments), f"--out={out}"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"aljax: --out='{out}': ")
        assert said.err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
