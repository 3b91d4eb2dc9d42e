"""Runs on embeddings: heads of all kinds, pools and streams, the given space, reports without images."""

import csv
import signal

import numpy as np
import pytest

from aljax.errors import Interrupted
from aljax.experiment import loop as experiment
from aljax.experiment.monitor import Monitor
from aljax.records import diagnostics, files, selections, verify
from tests.harness import results, small

D, CLASSES = 6, 3
OWN = """
import flax.linen as nn
from aljax.models.layers import dense

class Dropped(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, inputs, train):
        hidden = nn.BatchNorm(use_running_average=not train)(nn.relu(nn.Dense(8)(inputs)))
        dropped = nn.Dropout(0.2, deterministic=not train)(hidden)
        return nn.Dense(self.classes)(dropped), (inputs, hidden)

def build(num_classes, config):
    return Dropped(num_classes)
"""


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    """Embeddings in half precision of 200 images, of three classes that can be told apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 200)
    features = 40 + 9 * np.eye(CLASSES, D)[labels] + rng.normal(size=(200, D))
    path = tmp_path_factory.mktemp("embeddings") / "clouds.npz"
    names = np.array([f"sky/{row:03d}.jpg" for row in range(200)])
    np.savez(
        path, features=features.astype(np.float16), labels=np.array(["a", "b", "c"])[labels], files=names
    )
    return path


def config_of(clouds, **fields):
    settings = {
        "trials": 1,
        "budget": 10,
        "subset_size": 50,
        "dataset.source": "embeddings",
        "dataset.data_dir": str(clouds),
        "model.name": "mlp",
        "model.width": 8,
        "train.learning_rate": 0.05,
        "train.epochs": 60,
        "train.milestones": (0.8,),
        "train.detach_epoch": 0.6,
    }
    return small(**{**settings, **fields})


@pytest.fixture(scope="module")
def finished(clouds, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "whole"
    first = {"initial.strategy": "core_set", "initial.budget": 6}
    experiment.run(config_of(clouds, space="given", **first), workdir)
    return workdir


def test_a_head_on_embeddings_learns_and_its_run_is_whole(finished):
    lines = files.read_lines(finished / "cycles.jsonl")[0]
    assert [line["labeled"] for line in lines] == [6, 16, 26]
    assert [line["budget"] for line in lines] == [6, 10, 10]
    assert [line["acquired"] for line in lines] == ["core_set", "learning_loss", "learning_loss"]
    assert lines[0]["diversity"] == "random"
    assert lines[-1]["accuracy"] > 0.9
    assert list(verify.problems(finished)) == []


def test_files_of_embeddings_are_named_where_they_were_chosen(finished):
    with (finished / "chosen" / "trial-00" / "cycle-02.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert all(row["file"].startswith("sky/") for row in rows)
    assert {"learning_loss", "core_set"} <= rows[0].keys()


def test_the_report_shows_what_was_chosen_without_images(finished):
    kept = diagnostics.unpacked(diagnostics.path_of(finished, 0, 2))
    assert kept.images.shape == (0,)
    assert len(kept.shown) > 0
    page = (finished / "report.html").read_text()
    assert "<img src" not in page
    assert page.count("<figcaption><strong>") >= len(kept.shown)


def test_in_the_given_space_core_set_covers_the_embeddings_themselves(finished, clouds):
    """Whatever the model: each pick is the farthest of all, in the distances of the file."""
    from aljax import data

    features = data.load("embeddings", "clouds", image_size=8, channels=1, data_dir=str(clouds)).train.images
    features = np.asarray(features, np.float64)
    first = selections.load(selections.path_of(finished, 0, 1))
    second = selections.load(selections.path_of(finished, 0, 2))
    for chosen, batch in ((first, first.uncertainty[1:]), (second, second.diversity)):
        centers = list(first.acquired[:1] if chosen is first else first.acquired)
        for pick in batch:
            away = np.linalg.norm(features[chosen.subset][:, None] - features[centers], axis=-1).min(axis=1)
            assert away[np.flatnonzero(chosen.subset == pick)[0]] == pytest.approx(away.max(), rel=1e-3)
            centers.append(pick)


def test_a_user_s_own_network_with_dropout_in_a_stream_with_precise_statistics(clouds, tmp_path):
    own = tmp_path / "own_network.py"
    own.write_text(OWN)
    fields = {"cycles": 2, "scenario": "stream", "uncertainty": "margin", "train.precise_bn": True}
    workdir = tmp_path / "run"
    experiment.run(config_of(clouds, **fields, **{"model.name": f"{own}:build"}), workdir)
    lines = files.read_lines(workdir / "cycles.jsonl")[0]
    assert lines[-1]["accuracy"] > 0.6
    assert list(verify.problems(workdir)) == []


def test_a_trial_has_the_same_bytes_alone_among_others_and_after_an_interruption(
    clouds, tmp_path, monkeypatch
):
    """Of heads, whose epochs go into few calls, and whose cycles reach the disk together."""
    fields = {"cycles": 2, "ensemble": 2, "diversity": "bald"}
    whole, alone, killed = (tmp_path / name for name in ("whole", "alone", "killed"))
    experiment.run(config_of(clouds, **fields, trials=3), whole)
    experiment.run(config_of(clouds, **fields, first_trial=2, trials=1), alone)
    original = Monitor.epoch_done

    def asking_to_stop(monitor, trial, cycle, epoch, epochs, metrics, part=""):
        original(monitor, trial, cycle, epoch, epochs, metrics, part)
        if (trial, cycle, epoch) == (1, 2, 20):
            monitor.stop_requested = signal.SIGTERM

    monkeypatch.setattr(Monitor, "epoch_done", asking_to_stop)
    with pytest.raises(Interrupted, match="stopped in trial 1, cycle 2, after epoch"):
        experiment.run(config_of(clouds, **fields, trials=3), killed)
    monkeypatch.setattr(Monitor, "epoch_done", original)
    assert list(verify.problems(killed)) == []
    experiment.run(config_of(clouds, **fields, trials=3), killed)
    assert results(killed) == results(whole)
    lines = (whole / "cycles.jsonl").read_bytes().splitlines()
    assert (alone / "cycles.jsonl").read_bytes().splitlines() == lines[4:]
    assert list(verify.problems(whole)) == []
