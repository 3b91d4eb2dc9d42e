import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.runtime import mesh
from aljax.strategies import View, select

batchbald = importlib.import_module("aljax.strategies.batchbald")

KEY = jax.random.key(0)


def view_of(probs):
    """Shows M images with the probabilities [E, M, K] of each model."""
    return View(probs.shape[1], mesh.local(1, 2), member_log_probs=jnp.log(jnp.asarray(probs, jnp.float32)))


def entropy(probs):
    return -np.sum(np.where(probs > 0, probs * np.log(np.where(probs > 0, probs, 1)), 0))


def information(probs):
    """Returns the joint mutual information of all images' classes and the model, by every configuration."""
    members, count, classes = probs.shape
    joint = [
        np.mean([np.prod([probs[e, i, y] for i, y in enumerate(labels)]) for e in range(members)])
        for labels in itertools.product(range(classes), repeat=count)
    ]
    own = sum(np.mean([entropy(probs[e, i]) for e in range(members)]) for i in range(count))
    return entropy(np.array(joint)) - own


def two_classes(first):
    """Returns probabilities [4, 9, 3] of which the third is 0, from the first's of some images [m, 4]."""
    first = np.concatenate([first, np.full((9 - len(first), 4), 0.5)]).T
    return np.stack([first, 1 - first, np.zeros((4, 9))], axis=-1)


def test_an_image_that_tells_the_same_as_another_is_not_taken():
    # Images 0 to 2 tell the first two models from the others, 3 the even from the odd, less surely.
    halves, parity = [0.95, 0.95, 0.05, 0.05], [0.9, 0.1, 0.9, 0.1]
    given = view_of(two_classes([halves, halves, halves, parity]))
    assert set(select("bald", KEY, given, 2).chosen) < {0, 1, 2}
    chosen = select("batchbald", KEY, given, 4).chosen
    assert chosen[0] in (0, 1, 2)
    assert chosen[1] == 3
    assert set(chosen) == {0, 1, 2, 3}


def test_once_the_models_are_told_apart_the_rest_is_drawn():
    certain = [1.0, 1.0, 0.0, 0.0]  # as the first two models are one, and the last two
    given = view_of(two_classes([certain, certain]))
    seen = [select("batchbald", jax.random.key(seed), given, 4) for seed in range(6)]
    assert {selection.chosen[0] for selection in seen} == {0, 1}
    assert len({tuple(selection.chosen[1:]) for selection in seen}) > 2
    expected = "1 images tell all there is to know of the models; the other 3 are random"
    assert {selection.note for selection in seen} == {expected}


def random_probs(seed):
    return np.random.default_rng(seed).dirichlet(np.ones(3), (4, 9))


def test_the_information_is_that_of_every_configuration():
    for seed in range(3):
        probs = random_probs(seed)
        chosen = list(select("batchbald", KEY, view_of(probs), 4).chosen)
        for size in range(4):
            taken = chosen[:size]
            total = {i: information(probs[:, [*taken, i]]) for i in set(range(9)) - set(taken)}
            assert total[chosen[size]] >= max(total.values()) - 1e-4


def test_drawn_configurations_come_near(monkeypatch):
    monkeypatch.setattr(batchbald, "CONFIGURATIONS", 256)
    probs = np.random.default_rng(5).dirichlet(np.ones(3), (5, 12))
    chosen = list(select("batchbald", KEY, view_of(probs), 7).chosen)  # 3^6 is more than 256
    assert len(set(chosen)) == 7
    total = {i: information(probs[:, [*chosen[:6], i]]) for i in set(range(12)) - set(chosen[:6])}
    best, worst = max(total.values()), min(total.values())
    assert total[chosen[6]] > worst + 0.5 * (best - worst)


def test_what_is_not_finite_is_refused():
    given = view_of(random_probs(0))
    broken = given._replace(member_log_probs=given.member_log_probs.at[1, 2, 0].set(jnp.nan))
    with pytest.raises(Exception, match="a member's probabilities are not finite"):
        select("batchbald", KEY, broken, 2)


def test_scikit_activeml_takes_the_same():
    bald = pytest.importorskip(
        "skactiveml.pool._bald", reason="compares with scikit-activeml, of the bench extra"
    )
    probs = random_probs(1)
    utilities = bald.batch_bald(probs, batch_size=4, n_MC_samples=1000, random_state=0)
    expected = [int(np.nanargmax(row)) for row in utilities]
    assert list(select("batchbald", KEY, view_of(probs), 4).chosen) == expected
