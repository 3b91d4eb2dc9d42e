"""A run directory made by hand, with records of every kind and nothing trained."""

import json

import numpy as np

from aljax import agreement, diagnostics, files

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
