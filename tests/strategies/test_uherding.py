import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.runtime import mesh
from aljax.strategies import View, select

uherding = importlib.import_module("aljax.strategies.uherding")

KEY = jax.random.key(0)
EAST, NORTH, WEST = [2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]
FEATURES = jnp.array([EAST, NORTH, EAST, WEST, EAST, NORTH])


def view_of(sure, labeled=(EAST,)):
    """Shows six images, of which some are sure of their class, and the others torn between two."""
    probs = jnp.where(jnp.array(sure)[:, None], jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]))
    labeled = jnp.array(labeled).reshape(-1, 2)
    return View(
        6,
        mesh.local(1, 2),
        len(labeled),
        log_probs=jnp.log(probs),
        features=FEATURES,
        labeled_features=labeled,
    )


def first_of(given):
    return select("uherding", KEY, given, 5).chosen[0]


def test_of_uncertain_images_the_largest_group_is_covered_first():
    assert first_of(view_of([False] * 6, [])) in (0, 2, 4)
    assert first_of(view_of([False] * 6)) in (1, 5)


def test_what_the_model_is_sure_of_need_not_be_covered():
    assert first_of(view_of([True, True, True, False, True, True], [])) == 3
    note = select("uherding", KEY, view_of([True] * 6), 5).note
    assert note == "5 of 5 images were drawn among those that cover nothing new"


def test_the_radius_is_the_least_distance_of_different_labeled_images():
    points = np.array([[0.0, 0.0], [0.3, 0.4], [0.3, 0.4], [3.0, 0.0]], np.float32)
    assert uherding.adapted_radius(points) == pytest.approx(0.5)
    assert uherding.adapted_radius(points[1:3]) == uherding.RADIUS
    assert uherding.adapted_radius(points[:0]) == uherding.RADIUS
    near = np.array([[1.0, 0.0], [1.0, 1e-4]], np.float32)
    assert uherding.adapted_radius(near) == uherding.SMALLEST_RADIUS


def test_with_a_small_radius_the_most_uncertain_images_are_taken():
    angles = np.array([0, 1, 2, 3, 4, 5, 6, 6.005])
    features = jnp.array(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    first = jnp.array([0.6, 0.9, 0.55, 0.8, 0.95, 0.7])
    given = View(
        6,
        mesh.local(1, 2),
        2,
        log_probs=jnp.log(jnp.stack([first, 1 - first], axis=1)),
        features=features[:6],
        labeled_features=features[6:],
    )
    assert list(select("uherding", KEY, given, 5).chosen) == [2, 0, 5, 3, 1]
