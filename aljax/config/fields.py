"""The table of fields: all that a config may hold, each with its default, its bounds and its help.

A new field is a row here; the launcher's flags and help, the checks and the configs follow from it.
The defaults are the study's protocol, trained by the recipe of Yoo & Kweon, "Learning Loss for Active
Learning", CVPR 2019, section 4.1, on the data that needs no download.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

METRICS = ("balanced_accuracy", "nll", "ece", "per_class_accuracy")  # the names of aljax/metrics.py
SMALLEST, LARGEST = 1.2e-38, 3.4e38  # of numbers above 0, which become float32
MOST = 2**31 - 1  # of whole numbers, which become int32 on a device


class Field(NamedTuple):
    """One field of a config."""

    default: Any  # its type is the field's
    help: str  # what it is, with its unit
    accepts: Callable[[Any], bool]
    accepted: str  # the same in words


def whole(default: int, help: str, low: int = 0, high: int = MOST) -> Field:
    """Describes a whole number from `low` to `high`."""
    words = (
        f"a whole number of at least {low}, below 2^31"
        if high == MOST
        else f"a whole number from {low} to {high}"
    )
    return Field(default, help, lambda value: low <= value <= high, words)


def real(default: float, help: str, low: float = 0, high: float = math.inf, above: bool = False) -> Field:
    """Describes a number that float32 holds, of at least `low` (or above it) and at most `high`."""
    kind = "number" if high < math.inf else "finite float32"
    words = f"a {kind} {'above' if above else 'of at least'} {low:g}"
    words += f" and at most {high:g}" if high < math.inf else ""

    def accepts(value: float) -> bool:
        enough = max(low, SMALLEST) <= value and low < value if above else low <= value
        return abs(value) <= LARGEST and enough and value <= high

    return Field(float(default), help, accepts, words)


def choice(default: str, help: str, *names: str) -> Field:
    """Describes one of some names."""
    return Field(default, help, lambda value: value in names, "one of " + ", ".join(names))


def flag(default: bool, help: str) -> Field:
    """Describes a yes or no."""
    return Field(default, help, lambda value: True, "True or False")


def name(default: str, help: str) -> Field:
    """Describes a name of a table that is looked up where it is used."""
    return Field(default, help, bool, "a name")


def text(default: str, help: str) -> Field:
    """Describes any text."""
    return Field(default, help, lambda value: True, "a text")


def _none_or_two(default: int, help: str) -> Field:
    return Field(
        default, help, lambda value: value == 0 or 2 <= value <= MOST, "0, or at least 2, below 2^31"
    )


def _epochs(values: tuple[Any, ...]) -> bool:
    return all(type(value) in (int, float) and 0 < value <= MOST for value in values)


def _names(values: tuple[Any, ...]) -> bool:
    return all(type(one) is str for one in values) and len(set(values)) == len(values) != 1


FIELDS: dict[str, Field] = {
    "seed": whole(0, "all randomness derives from it, by name, trial and cycle", 0, 2**32 - 1),
    "trials": whole(5, "independent repetitions; results are means over them", 1, 1_000_000),
    "first_trial": whole(0, "number of the first; trial k is the same whatever others run", 0, 1_000_000),
    "cycles": whole(10, "of selecting, labeling and training", 1, 1_000_000),
    "budget": whole(1_000, "images labeled in each cycle", 1),
    "subset_size": whole(10_000, "random unlabeled images that a cycle selects from", 2),
    "uncertainty": name("learning_loss", 'query strategy, or your own as "path/to/file.py:function"'),
    "diversity": name("core_set", "query strategy that it is compared with"),
    "acquire": name("uncertainty", "whose selection is labeled: uncertainty, diversity, or a strategy"),
    "oracle": name(
        "dataset",
        'who labels: dataset, page, files or label_studio, or your own as "path/to/file.py:function"',
    ),
    "compare": Field(
        (),
        "strategies that all select in each cycle; every pair goes into pairs.jsonl",
        lambda value: (
            all(type(one) is str for one in value)
            and (len(set(value)) == len(value) != 1 or value == ("all",))
        ),
        "two or more different strategies, as in ('margin', 'core_set') or ('all', '-badge'), or ()",
    ),
    "initial.strategy": name("random", "of cycle 1: random, or one that needs given embeddings alone"),
    "initial.budget": whole(0, "images labeled in cycle 1; 0: as many as in the others"),
    "space": choice(
        "model",
        "of the features that strategies compare: the model's last stage, or embeddings as they were given",
        *("model", "given"),
    ),
    "ensemble": whole(
        1, "models trained on the same labels, for bald, vote_entropy, powerbald and batchbald", 1, 1024
    ),
    "metrics": Field(
        (),
        f"of the test set, beside accuracy and loss, in each cycle: {', '.join(METRICS)}",
        lambda value: all(one in METRICS and value.count(one) == 1 for one in value),
        f"different ones of {', '.join(METRICS)}, as in ('ece',), or ()",
    ),
    "shared_batches": flag(False, "whether they see the same batches; their weights differ anyway"),
    "warm_start": flag(False, "train on from the weights of the cycle before, not from fresh ones"),
    "scenario": choice(
        "pool",
        "how images come: from a pool, one at a time, or made from labeled ones",
        *("pool", "stream", "synthesis"),
    ),
    "validation_fraction": real(0, "of the labeled images, not trained on: stop judges by them", 0, 0.9),
    "validation_folds": _none_or_two(0, "the same by cross-validation: trains so many more models a cycle"),
    "retries": whole(0, "of a training with other weights, where its loss is not finite"),
    "devices": whole(0, "devices to spread over; 0: all (of a CPU's cores, as many as pay)"),
    "checkpoint_minutes": real(10, "minutes of training between checkpoints inside a cycle"),
    "tracker": choice(
        "none",
        "that each cycle's numbers also go to; they stay in the run directory unless it is set otherwise",
        *("none", "wandb", "mlflow"),
    ),
    "dataset.source": name(
        "embedded", "embedded (in a package), tfds, folder, unlabeled (a folder) or embeddings"
    ),
    "dataset.name": name("digits", "as its source calls it; for a folder, as you do"),
    "dataset.data_dir": text("", "where it lies, of embeddings the file; for tfds, empty is its own default"),
    "dataset.images_dir": text("", "the images that given embeddings stand for, which people are shown"),
    "dataset.train_split": name("train", "the pool"),
    "dataset.test_split": name("test", "what accuracy is measured on"),
    "dataset.image_size": whole(8, "pixels each way; other images are resized", 8, 1024),
    "dataset.channels": Field(1, "1 grey, 3 colour", lambda value: value in (1, 3), "1 (grey) or 3 (colour)"),
    "dataset.encoder": text(
        "",
        "whose embeddings stand for a folder's images: lite0, a folder with a checkpoint, or your own as "
        '"path/to/file.py:function"; empty: none',
    ),
    "dataset.classes": _none_or_two(0, "the first so many classes alone; 0: all"),
    "dataset.images": whole(0, "a fixed random choice of so many images to train with; 0: all"),
    "dataset.skip_unreadable": flag(False, "leaves out the files of a folder that cannot be decoded"),
    "dataset.background": whole(0, "grey level behind transparent pixels, from black to white", 0, 255),
    "dataset.labels": text("", "a CSV or JSONL file of file,label[,split] that labels images of a folder"),
    "dataset.cache": text(
        "", "a folder that keeps decoded images, which are mapped from there, not read; empty: in memory"
    ),
    "dataset.class_names": Field(
        (),
        "of unlabeled images; (): those of the labels that there are",
        _names,
        "two or more different names, as in ('cat', 'dog'), or ()",
    ),
    "model.name": name(
        "resnet18", 'resnet18, airbench, linear, mlp, or your own as "path/to/file.py:function"'
    ),
    "model.width": whole(64, "channels of the first stage; of mlp, units of each hidden layer", 1, 4096),
    "model.depth": whole(1, "hidden layers of mlp", 1, 64),
    "model.dtype": choice(
        "auto", "of computation; auto: float32 on a CPU, else bfloat16", *("auto", "float32", "bfloat16")
    ),
    "model.initialization": choice(
        "he_fan_out",
        "distribution of fresh weights: He et al.'s by fan-out, or PyTorch's default",
        *("he_fan_out", "torch_default"),
    ),
    "train.epochs": whole(200, "passes over the labeled images", 1),
    "train.min_steps": whole(0, "least steps in a cycle: with few labels, as many more epochs as that takes"),
    "train.batch_size": whole(128, "images, an even number", 2),
    "train.optimizer": name("sgd", 'sgd or adamw, or your own as "path/to/file.py:function"'),
    "train.learning_rate": real(0.1, "at its highest", above=True),
    "train.schedule": name(
        "step", 'of the learning rate: step, cosine, one_cycle, or your own as "path/to/file.py:function"'
    ),
    "train.warmup": real(0, "share of the epochs in which the rate rises from 0", 0, 0.9),
    "train.milestones": Field(
        (0.8,),
        "after which schedule step multiplies the rate by decay; below 1 shares of the epochs, else epochs",
        _epochs,
        "rising shares of the epochs below 1, or epochs of at least 1, as in (0.6, 0.8) or (120, 160)",
    ),
    "train.decay": real(0.1, "factor", 0, 1, above=True),
    "train.momentum": real(0.9, "of sgd", 0, 0.9999),
    "train.weight_decay": real(5e-4, "times each parameter: added to the gradient, by adamw to the step"),
    "train.ranking_weight": real(1, "of the ranking loss beside the cross-entropy"),
    "train.margin": real(1, "of the ranking loss, in units of the predicted loss", above=True),
    "train.detach_epoch": real(
        0.6, "after it the ranking loss leaves the backbone alone; below 1 a share of the epochs", 0, MOST
    ),
    "train.pad": whole(4, "pixels around the image that it is cropped from"),
    "train.flip": flag(True, "mirror images left to right, half of the time"),
    "train.label_smoothing": real(0, "share of the target that is spread over all classes", 0, 0.9),
    "train.class_weights": choice(
        "none",
        "of the cross-entropy: none, or balanced (in inverse proportion to a class's labeled images)",
        *("none", "balanced"),
    ),
    "train.nesterov": flag(False, "look ahead along the momentum of sgd"),
    "train.precise_bn": flag(False, "recompute the statistics of batch normalization after training"),
    "stream.policy": choice(
        "quantile", "which images of a stream are queried", *("fixed", "variable", "quantile")
    ),
    "stream.threshold": Field(
        0.5, "of the fixed policy, in units of the uncertainty strategy's score", math.isfinite, "a number"
    ),
    "stream.step": real(0.01, "by which the variable threshold moves, as a share of it", 0, 0.5, above=True),
    "stream.window": whole(100, "images over which the variable policy counts what it has spent", 1),
    "synthesis.degrees": real(15, "made images are turned by at most so many, either way", 0, 180),
    "synthesis.shift": real(3, "moved by at most so many pixels, along each axis"),
    "synthesis.zoom": real(1.3, "magnified by at most this factor", 1, 100),
    "synthesis.mix": real(0.3, "at most this share of another image of the class", 0, 0.5),
    "synthesis.flip": flag(True, "whether half of them are mirrored left to right"),
    "page.port": whole(0, "of the page that people label on; 0: any that is free", 0, 65_535),
    "stop.labels": whole(0, "images labeled at most in a trial; 0: this rule is off, as all that follow"),
    "stop.accuracy": real(0, "validation accuracy to be reached", 0, 1),
    "stop.patience": whole(0, "cycles in which validation accuracy did not gain"),
    "stop.tolerance": real(0, "a gain is more than this", 0, 1),
    "stop.stability": real(0, "mean kappa of successive models' predictions to be reached", 0, 1),
    "stop.window": whole(3, "cycles that it is the mean over", 1),
}


def default() -> ConfigDict:
    """Returns a config in which every field has its default."""
    return ConfigDict(nested({name: field.default for name, field in FIELDS.items()}))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dictionaries as one, with names like "train.epochs"."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested dictionaries that `flatten` made one."""
    config: dict[str, Any] = {}
    for key, value in flat.items():
        group, _, last = key.rpartition(".")
        (config.setdefault(group, {}) if group else config)[last] = value
    return config
