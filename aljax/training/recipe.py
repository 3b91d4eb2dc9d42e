"""The recipe: all hyperparameters of a training, and how many epochs of it a cycle takes."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """Hyperparameters of training. Source: Yoo & Kweon, CVPR 2019, section 4.1.

    A place in the training (`milestones`, `detach_epoch`) is a share of it below 1, and from 1 on one of
    its `epochs`, counted from 1; both scale with the epochs in effect, of which `min_steps` may ask more.
    """

    epochs: int
    batch_size: int
    learning_rate: float  # at its highest
    milestones: tuple[float, ...]  # places after which the schedule `step` multiplies the rate by decay
    decay: float
    momentum: float  # of the optimizer sgd
    weight_decay: float
    ranking_weight: float
    margin: float
    detach_epoch: float  # place after which the ranking loss leaves the backbone alone
    pad: int  # pixels
    flip: bool
    label_smoothing: float = 0.0
    nesterov: bool = False
    optimizer: str = "sgd"
    schedule: str = "step"
    warmup: float = 0.0  # share of the training in which the rate rises from 0
    min_steps: int = 0  # of the optimizer, in each cycle
    precise_bn: bool = False
    class_weights: str = "none"  # of the cross-entropy: none or balanced


def from_config(train: Mapping[str, Any]) -> Recipe:
    """Returns the recipe of a config's table `train`; fields that are no part of a recipe are left out."""
    fields = {name: value for name, value in train.items() if name in Recipe._fields}
    return Recipe(**{**fields, "milestones": tuple(fields["milestones"])})


def share_of(place: float, recipe: Recipe) -> float:
    """Returns the share of the training that is behind at a place in it (see `Recipe`), in [0, 1]."""
    return place if place < 1 else place / recipe.epochs


def steps_per_epoch(recipe: Recipe, num_labeled: int) -> int:
    """Counts the steps of an epoch over `num_labeled` images."""
    return -(-num_labeled // recipe.batch_size)


def epochs_of(recipe: Recipe, num_labeled: int) -> int:
    """Counts the epochs in effect over `num_labeled` images: `epochs`, and as many as make `min_steps`."""
    return max(recipe.epochs, -(-recipe.min_steps // steps_per_epoch(recipe, num_labeled)))


def steps_of(recipe: Recipe, num_labeled: int) -> int:
    """Counts the steps of a training on `num_labeled` images."""
    return epochs_of(recipe, num_labeled) * steps_per_epoch(recipe, num_labeled)
