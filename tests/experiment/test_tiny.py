"""Whole runs of the smallest study, in this process: what is damaged, diverges, or is a user's own."""

import os
import random
import shutil

import jax
import numpy as np
import pytest

from aljax import experiment
from aljax.errors import InvalidInputError, NonFiniteError, RunError
from aljax.experiment import size
from aljax.records import diagnostics, files, manifest, verify
from aljax.training import predict
from tests.harness import config_of, results, tiny

GALLERY = "gallery/trial-00/cycle-02.npz"
OWN = """
import os, random, sys
import jax, numpy as np

def random_images(key, view, budget):
    return np.asarray(jax.random.permutation(key, view.subset_size))[:budget]

def moves(key, view, budget):
    print("where am I?")
    os.chdir("/")
    np.random.seed(1)
    random.seed(1)
    np.seterr(all="raise")
    jax.config.update("jax_enable_x64", True)
    return random_images(key, view, budget)

def exits(key, view, budget):
    sys.exit(3)

def writes(key, view, budget):
    np.asarray(view.log_probs)[:] = 0
    return random_images(key, view, budget)

def donates(key, view, budget):
    view.log_probs.delete()
    return random_images(key, view, budget)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("own")
    (path / "own.py").write_text(OWN)
    return path


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr("aljax.report.figures.draw", lambda shown: [])


def study(folder, **fields):
    values = {name.replace(".", "__"): value for name, value in tiny(folder, **fields).items()}
    return config_of("digits", **values)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("tiny") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aljax.report.figures.draw", lambda shown: [])
        experiment.run(study(folder), workdir)
    assert list(verify.problems(workdir)) == []
    return workdir


def lines_of(workdir):
    return files.read_lines(workdir / "cycles.jsonl")[0]


def begun(finished, workdir, lines=2):
    """A copy of the run as it was after its first cycles."""
    shutil.copytree(finished, workdir)
    for name in ("cycles.jsonl", "timings.jsonl", "diagnostics.jsonl"):
        content = (workdir / name).read_bytes().splitlines(keepends=True)
        (workdir / name).write_bytes(b"".join(content[:lines]))
    for path in [workdir / "summary.json", workdir / "summary.csv", *workdir.glob("*/trial-00/cycle-03.*")]:
        path.unlink()
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)
    manifest.begin(workdir)
    kept = [name for name in manifest.load(workdir).files if "cycle-03" not in name]
    (workdir / "manifest.json").unlink()
    manifest.begin(workdir)
    manifest.enter(workdir, kept)
    assert list(verify.problems(workdir)) == []
    return workdir


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [GALLERY, "chosen/trial-00/cycle-02.csv"])
@pytest.mark.parametrize("damage", [flip, os.unlink])
@pytest.mark.parametrize("whole", [True, False], ids=["finished", "begun"])
def test_a_damaged_gallery_or_list_is_made_again(folder, finished, tmp_path, name, damage, whole, caplog):
    workdir = shutil.copytree(finished, tmp_path / "run") if whole else begun(finished, tmp_path / "run")
    damage(workdir / name)
    assert [line.split(": ")[0] for line in verify.problems(workdir)] == [str(workdir / name)]
    experiment.run(study(folder), workdir)
    assert f"{name}: " in caplog.text
    assert "it is made again" in caplog.text
    assert (workdir / name).read_bytes() == (finished / name).read_bytes()
    assert results(workdir) == results(finished)
    assert list(verify.problems(workdir)) == []


def test_what_does_not_come_out_as_listed_is_not_written(folder, finished, tmp_path, monkeypatch):
    workdir = begun(finished, tmp_path / "run")
    flip(workdir / GALLERY)
    before = (workdir / GALLERY).read_bytes()
    monkeypatch.setattr(diagnostics, "plane", lambda features: np.zeros((len(features), 2), np.float32))
    with pytest.raises(RunError, match=r"cycle-02\.npz: missing or damaged, and made again it is not what"):
        experiment.run(study(folder), workdir)
    assert (workdir / GALLERY).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda run: flip(run / "manifest.json"), r"manifest\.json: damaged"),
        (lambda run: (run / "manifest.json").unlink(), r"manifest\.json: missing; `aljax repair`"),
        (
            lambda run: (run / "config.json").write_bytes(
                (run / "config.json").read_bytes().replace(b'"flax": "0.', b'"flax": "1.')
            ),
            r"config\.json: is not what manifest\.json lists",
        ),
    ],
)
def test_a_run_does_not_go_on_from_what_has_no_witness(folder, finished, tmp_path, change, error):
    workdir = begun(finished, tmp_path / "run")
    change(workdir)
    with pytest.raises((RunError, InvalidInputError), match=error):
        experiment.run(study(folder), workdir)
    assert len(lines_of(workdir)) == 2


def test_a_test_loss_that_is_not_finite_is_tried_again(folder, tmp_path, monkeypatch):
    real, calls = predict.evaluate, []

    def evaluate(*arguments, **options):
        calls.append(1)
        accuracy, loss, log_probs = real(*arguments, **options)
        return accuracy, loss * np.nan if len(calls) in (2, 4, 5) else loss, log_probs

    monkeypatch.setattr(predict, "evaluate", evaluate)
    experiment.run(study(folder, cycles=2, retries=1), tmp_path / "one")
    assert [line["retries"] for line in lines_of(tmp_path / "one")] == [0, 1]
    with pytest.raises(NonFiniteError, match=r"trial 0, cycle 1: test_loss is nan"):
        experiment.run(study(folder, cycles=2, retries=1), tmp_path / "two")
    assert lines_of(tmp_path / "two") == []


def test_what_a_strategy_does_to_the_process_changes_no_number(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, before = random.getstate(), np.random.get_state()  # noqa: NPY002 (that is what it changes)
    settings, of_numpy = dict(jax.config.values), np.geterr()
    try:
        for name in ("random_images", "moves"):
            experiment.run(study(folder, uncertainty=f"{folder}/own.py:{name}"), name)
            assert os.getcwd() == str(tmp_path)
    finally:
        random.setstate(state)
        np.random.set_state(before)  # noqa: NPY002
        np.seterr(**of_numpy)
    assert jax.config.values == settings
    quiet, moved = (lines_of(tmp_path / name) for name in ("random_images", "moves"))
    assert [line["accuracy"] for line in quiet] == [line["accuracy"] for line in moved]
    assert list(verify.problems(tmp_path / "moves")) == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("exits", r"raised SystemExit: 3 \(own\.py, line \d+\)"),
        ("writes", r"read-only"),
        ("donates", r"donated or deleted an output of the view"),
    ],
)
def test_a_strategy_that_misbehaves_gets_one_line_and_loses_nothing(folder, tmp_path, name, error):
    with pytest.raises(RunError, match=error) as raised:
        experiment.run(study(folder, uncertainty=f"{folder}/own.py:{name}"), tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert len(lines_of(tmp_path / "run")) == 1
    assert list(verify.problems(tmp_path / "run")) == []


def test_memory_that_cannot_suffice_is_refused_before_anything_is_made(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(size, "_memory", lambda devices: 10**9)
    fields = {"scenario": "synthesis", "cycles": 10_000, "budget": 59, "subset_size": 60}
    with pytest.raises(InvalidInputError, match=r"the images 2\.4 GB, and there are 1\.0 GB of memory; acc"):
        experiment.run(study(folder, **fields, **{"dataset.image_size": 64}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(size, "_memory", lambda devices: 10)
    with pytest.raises(InvalidInputError, match=r"the weights take at least 0\.000 GB"):
        experiment.run(study(folder), tmp_path / "run")
