"""A study on embeddings beside scikit-activeml: python -m benchmarks.activeml [--out F] [--config.F=VALUE]

A linear head, one strategy that chooses what is labeled: cycles of selecting from a sub-pool, labeling,
training and evaluating. The peer is scikit-activeml's loop as its tutorials write it, with scikit-learn's
logistic regression. Sizes are those of configs/embeddings.py at 5 cycles; the embeddings (20,000 x 512, 10
classes) are made. Both run in processes of their own, imports included, and take turns; aljax runs several
trials at once, as its users do, and its first run compiles and is not counted. Seconds are per trial.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from aljax.records import files, stored_config
from benchmarks import common
from benchmarks.cycle import ROOT, start
from benchmarks.kcenter import clustered

STRATEGIES = ("random", "margin", "core_set", "typiclust")
ROWS, TEST, DIMENSIONS, CLASSES = 20_000, 2_000, 512, 10
REDUCED: dict[str, object] = {"trials": 5, "cycles": 5, "model.name": "linear", "diversity": "random"}


def embeddings(path: Path) -> None:
    """Writes features like a network's whose class is, but for noise, a linear function of them."""
    rng = np.random.default_rng(0)
    features = clustered(rng, ROWS + TEST, DIMENSIONS)
    logits = features @ rng.normal(0, 1, (DIMENSIONS, CLASSES))
    logits = (logits - logits.mean(0)) / logits.std(0)
    labels = (logits + 0.3 * rng.normal(size=logits.shape)).argmax(1)
    split = np.where(np.arange(len(labels)) < ROWS, "train", "test")
    np.savez(path, features=features, labels=labels, split=split)


def trial(name: str, path: Path, config: dict[str, Any], seed: int) -> float:
    """Runs one trial in scikit-activeml; returns the accuracy in the last cycle."""
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import CoreSet, RandomSampling, TypiClust, UncertaintySampling
    from sklearn.linear_model import LogisticRegression

    strategies = {
        "random": lambda: RandomSampling(random_state=seed),
        "margin": lambda: UncertaintySampling(method="margin_sampling", random_state=seed),
        "core_set": lambda: CoreSet(random_state=seed),
        "typiclust": lambda: TypiClust(random_state=seed),
    }
    given = np.load(path)
    train = given["split"] == "train"
    features, labels = given["features"][train], given["labels"][train]
    rng = np.random.default_rng(seed)
    budget, size = config["budget"], config["subset_size"]
    labeled = rng.choice(len(labels), budget, replace=False)
    accuracy = 0.0
    for cycle in range(config["cycles"]):
        head = SklearnClassifier(LogisticRegression(max_iter=1000), classes=np.arange(CLASSES))
        if cycle:
            unlabeled = np.setdiff1d(np.arange(len(labels)), labeled)
            subset = rng.choice(unlabeled, size, replace=False)
            shown = np.concatenate([labeled, subset])
            known = np.where(np.arange(len(shown)) < len(labeled), labels[shown], np.nan)
            extra = {"clf": head.fit(features[shown], known)} if name == "margin" else {}
            picks = strategies[name]().query(features[shown], known, batch_size=budget, **extra)
            labeled = np.concatenate([labeled, shown[picks]])
        head.fit(features[labeled], labels[labeled])
        accuracy = float((head.predict(given["features"][~train]) == given["labels"][~train]).mean())
    return accuracy


def main(arguments: list[str] | None = None) -> None:
    """Runs all of it."""
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=STRATEGIES, action="append", help="may be given again")
    parser.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    options, overrides = parser.parse_known_args(arguments)
    if options.peer:
        name, path, config, seed = options.peer
        warnings.simplefilter("ignore")  # of its own releases to come
        given = stored_config.fields(stored_config.load(Path(config)))
        print(json.dumps(trial(name, Path(path), given, int(seed))))
        return
    flags = {override.split("=", 1)[0] for override in overrides}
    settings = [f"--config={ROOT / 'configs' / 'embeddings.py'}", *overrides]
    settings += [
        f"--config.{key}={value}" for key, value in REDUCED.items() if f"--config.{key}" not in flags
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        path = scratch / "embeddings.npz"
        embeddings(path)
        settings.append(f"--config.dataset.data_dir={path}")
        for name in options.only or STRATEGIES:
            own = [*settings, f"--config.uncertainty={name}"]
            start(scratch / name, scratch / "cache", own)
            config = scratch / name / "config.json"
            trials = stored_config.fields(stored_config.load(config))["trials"]
            seconds: dict[str, list[float]] = {"aljax": [], "scikit-activeml": []}
            accuracy: dict[str, list[float]] = {"aljax": [], "scikit-activeml": []}
            for seed in range(options.rounds):
                workdir = scratch / f"{name}-{seed}"
                taken = start(workdir, scratch / "cache", [*own, f"--config.seed={seed}"])
                lines, _ = files.read_lines(workdir / "cycles.jsonl")
                last = max(line["cycle"] for line in lines)
                seconds["aljax"].append(taken / trials)
                accuracy["aljax"] += [line["accuracy"] for line in lines if line["cycle"] == last]
                begin = time.perf_counter()
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.activeml",
                    "--peer",
                    name,
                    path,
                    config,
                    str(seed),
                ]
                done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                seconds["scikit-activeml"].append(time.perf_counter() - begin)
                accuracy["scikit-activeml"].append(json.loads(done.stdout))
            for peer, found in common.compared(seconds, "aljax").items():
                rows.append(
                    {
                        "strategy": name,
                        "": peer,
                        "s / trial": found["seconds"],
                        "times as long": found["ratio"],
                        "from": found["ratio_low"],
                        "to": found["ratio_high"],
                        "accuracy": float(np.mean(accuracy[peer])),
                    }
                )
                print(rows[-1], file=sys.stderr, flush=True)
    common.show(f"{trials} trials of aljax at once, {options.rounds} rounds", rows)
    common.write(options.out, {"settings": settings[1:-1], "activeml": rows})


if __name__ == "__main__":
    main()
