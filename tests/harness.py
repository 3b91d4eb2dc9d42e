"""The parts that tests share: configs, run directories made by hand, small runs of the launcher."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from aljax import agreement
from aljax.config import study
from aljax.records import diagnostics, files, manifest, selections, summary
from aljax.records import directory as records
from tests.forked import Forked

ROOT = Path(__file__).parents[1]
SMALL = {
    "trials": 2,
    "cycles": 3,
    "budget": 20,
    "subset_size": 100,
    "model.name": "tests.networks:two_layers",  # of seconds, not of a minute, to compile
    "model.width": 4,
    "train.learning_rate": 0.01,  # at 0.1 so narrow a network may explode, on some processors
    "train.batch_size": 16,
    "train.epochs": 12,
    "train.min_steps": 0,
    "train.milestones": (8,),
    "train.detach_epoch": 6,
}


def start(cache: Path, workdir: Path, file_limit: int | None = None, **fields: object) -> Forked:
    """Starts a small run, with room for `file_limit` bytes in a file if that is given."""
    settings = [f"--config.{name}={value}" for name, value in {**SMALL, **fields}.items()]
    environment = {
        "JAX_NUM_CPU_DEVICES": "2",
        **os.environ,  # the devices too, where it says
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return Forked([f"--workdir={workdir}", *settings], environment, file_limit=file_limit)


def launch(
    cache: Path, workdir: Path, file_limit: int | None = None, **fields: object
) -> tuple[int | None, str, str]:
    """Runs it to its end: exit status, standard output, standard error."""
    process = start(cache, workdir, file_limit, **fields)
    output, errors = process.communicate()
    return process.returncode, output, errors


def results(workdir: Path) -> tuple[bytes, dict[str, Any]]:
    """Returns all that two runs of one command have in common, to the byte."""
    arrays = {}
    for path in [*workdir.glob("selections/*/*.npz"), *workdir.glob("gallery/*/*.npz")]:
        with np.load(path) as archive:
            arrays[path.relative_to(workdir).as_posix()] = {
                name: array.tobytes() for name, array in archive.items()
            }
    return b"".join((workdir / name).read_bytes() for name in ("cycles.jsonl", records.DIAGNOSTICS)), arrays


def config_of(name, **changes):
    """Returns the config of one of aljax's studies as nested dictionaries, changed as by `changed`."""
    return changed(study(name).to_dict(), **changes)


def small(**fields):
    """Returns the config of the small study that tests run, with other fields by their dotted names."""
    settings = {name.replace(".", "__"): value for name, value in {**SMALL, **fields}.items()}
    return config_of("digits", **settings)


def changed(values, **changes):
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        target = values[group] if group else values
        if value is ...:
            del target[field]
        else:
            target[field] = value
    return values


SUBSET, BUDGET = 40, 8


def make_run(
    path,
    *,
    trials=3,
    cycles=4,
    class_names=("ant", "bee", "cat"),
    seed=0,
    lines=None,
    **fields,
):
    """Makes the run, or its first `lines` cycles, and returns its path."""
    rng = np.random.default_rng(seed)
    config = {
        "trials": trials,
        "first_trial": 0,
        "cycles": cycles,
        "budget": BUDGET,
        "subset_size": SUBSET,
        "uncertainty": "learning_loss",
        "diversity": "core_set",
        "dataset": {"name": "insects"},
        "model": {"width": 4},
        "train": {"epochs": 10, "batch_size": 8},
        "versions": {},
        "device": "2 x cpu",
    }
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({**config, **fields}))
    for name in ("cycles", "timings", "diagnostics"):
        (path / f"{name}.jsonl").write_text("")
    plan = [(trial, cycle) for trial in range(trials) for cycle in range(1, cycles + 1)]
    for trial, cycle in plan[:lines]:
        scores = rng.normal(size=SUBSET).astype(np.float32)
        labels = rng.integers(0, len(class_names), SUBSET).astype(np.int32)
        batches = {
            name: rng.choice(SUBSET, BUDGET, replace=False) for name in ("uncertainty", "diversity", "random")
        }
        space = None
        if cycle > 1:
            space = diagnostics.geometry(rng.normal(size=(SUBSET, 5)), rng.normal(size=(8 * cycle, 5)))
        measured = diagnostics.measure(
            labels, batches, len(class_names), space=space, scores=scores, true_loss=rng.gamma(1, size=SUBSET)
        )
        files.append(path / "diagnostics.jsonl", {"trial": trial, "cycle": cycle, **measured})
        if space is not None and trial == 0:
            kept = diagnostics.gallery(
                labels,
                batches["uncertainty"],
                batches["diversity"],
                class_names,
                space=space,
                scores=scores,
            )
            images = rng.integers(0, 256, (len(kept.shown), 8, 8, 3), np.uint8)
            file = diagnostics.path_of(path, trial, cycle)
            files.write(file, diagnostics.packed(kept._replace(images=images)))
        line = {
            "trial": trial,
            "cycle": cycle,
            "labeled": BUDGET * cycle,
            "budget": BUDGET,
            "subset_size": SUBSET,
            **agreement.compare(batches["uncertainty"], batches["diversity"], SUBSET)._asdict(),
            "uncertainty": config["uncertainty"],
            "diversity": config["diversity"],
            "accuracy": 0.5 + 0.1 * cycle + 0.01 * float(rng.normal()),
            "test_loss": 1.0,
            "train_loss": 0.5,
        }
        files.append(path / "cycles.jsonl", line)
        seconds = {"score": 0.5, "select": 0.25, "train": float(cycle), "evaluate": 0.25}
        files.append(path / "timings.jsonl", {"trial": trial, "cycle": cycle, **seconds})
    return path


def finished_run(path):
    """Makes a finished run directory of two trials and two cycles, in which nothing is wrong."""
    rng = np.random.default_rng(0)
    config = config_of("digits", trials=2, first_trial=3, cycles=2, budget=4, subset_size=10)
    config["compare"] = ("learning_loss", "core_set")
    with records.opened(path, config, {"versions": {}, "device": "1 x cpu"}):
        pass
    lines, pair_lines = [], []
    for trial in (3, 4):
        order = rng.permutation(100).astype(np.int32)
        for cycle in (1, 2):
            subset = np.sort(order[10 * cycle : 10 * cycle + 10])
            scores = rng.normal(size=10).astype(np.float32)
            best = subset[np.argsort(-scores)[:4]]
            compared = {"learning_loss": best, "core_set": subset[:4]}
            compared_scores = {"learning_loss": scores, "core_set": np.empty(0, np.float32)}
            chosen = selections.Selections(
                subset, best, subset[:4], best, scores, compared, compared_scores, {}
            )
            file = selections.path_of(path, trial, cycle)
            selections.save(file, chosen)
            line = {"trial": trial, "cycle": cycle, "labeled": 4 * cycle, "budget": 4, "subset_size": 10}
            measured = agreement.compare(chosen.uncertainty, chosen.diversity, 10)._asdict()
            line |= {**measured, "selections_sha256": selections.digest(file)}
            line |= {"accuracy": 0.5, "test_loss": 1.0, "train_loss": 0.5, "retries": 0}
            lines.append(line)
            files.append(path / "timings.jsonl", {"trial": trial, "cycle": cycle, "train": 1.0})
            _note(path, trial, cycle, chosen, rng)
            pair = {"a": "learning_loss", "b": "core_set", **measured, "spearman": None}
            pair_lines.append({"trial": trial, "cycle": cycle, **pair})
            files.append(path / "pairs.jsonl", pair_lines[-1])
            files.append(path / "cycles.jsonl", line)
            files.write(path / f"chosen/trial-{trial:02d}/cycle-{cycle:02d}.csv", b"file,rank,score\n")
    others = {"report.html": b"<html>", "figures/accuracy.png": b"png", "tensorboard/trial-03/events": b"e"}
    for name, content in {**summary.contents(lines, pair_lines), **others}.items():
        files.write(path / name, content)
    manifest.write(path)
    return path


def _note(run, trial, cycle, chosen, rng):
    """Writes the diagnostics of a cycle, and the gallery of the first trial's second."""
    labels = rng.integers(0, 3, 10)
    batches = {
        name: np.searchsorted(chosen.subset, getattr(chosen, name)) for name in ("uncertainty", "diversity")
    }
    space = diagnostics.geometry(rng.normal(size=(10, 2)), np.zeros((1, 2))) if cycle > 1 else None
    measured = diagnostics.measure(labels, batches, 3, space=space, scores=chosen.scores)
    records.put(run / "diagnostics.jsonl", {"trial": trial, "cycle": cycle, **measured})
    if trial == 3 and space is not None:
        kept = diagnostics.gallery(labels, *batches.values(), "abc", space=space, scores=chosen.scores)
        images = np.zeros((len(kept.shown), 4, 4, 1), np.uint8)
        files.write(diagnostics.path_of(run, trial, cycle), diagnostics.packed(kept._replace(images=images)))


def events(path):
    """Reads a TensorBoard file, of TFRecords: a length, its checksum, content, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, place, found = path.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        found.append(Event.FromString(content[place + 12 : place + 12 + length]))
        place += 12 + length + 4
    return found


NETWORK = """
import flax.linen as nn

class Network(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        stage = nn.relu(nn.Conv(4, (4, 4), 4)(images))
        return nn.Dense(self.num_classes)(stage.mean((1, 2))), [stage]

def build(num_classes, config):
    return Network(num_classes)
"""
TINY = {
    "trials": 1,
    "cycles": 3,
    "budget": 4,
    "subset_size": 12,
    "dataset.images": 60,
    "dataset.classes": 3,
    "devices": 1,
    "train.batch_size": 4,
    "train.epochs": 3,
    "train.min_steps": 0,
    "train.milestones": (),
    "train.detach_epoch": 2,
    "train.learning_rate": 0.05,
}


def tiny(folder: Path, **fields: object) -> dict[str, Any]:
    """Returns the fields of the smallest study, whose network of one layer is written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "network.py"
    if not path.exists():
        path.write_text(NETWORK)
    return {**TINY, "model.name": f"{path}:build", **fields}
