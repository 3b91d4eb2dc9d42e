import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from aljax import scoring
from aljax.runtime import mesh
from aljax.strategies import View, select


def view_of(*probabilities):
    """Shows images to two models, which give class 1 these probabilities."""
    probs = jnp.array(probabilities).T  # [E, M]
    log_probs = jnp.log(jnp.stack([1 - probs, probs], axis=-1))
    return View(len(probabilities), mesh.local(1, 2), member_log_probs=log_probs)


GIVEN = view_of([0.5, 0.5], [0.1, 0.9], [0.3, 0.7], [0.4, 0.9], [0.9, 0.9])


def test_images_on_which_the_models_agree_come_last_in_any_order():
    chosen = [tuple(select("powerbald", jax.random.key(seed), GIVEN, 5).chosen) for seed in range(8)]
    assert all({one, other} == {0, 4} for *_, one, other in chosen)
    assert len({order[3:] for order in chosen}) == 2
    assert len({order[:3] for order in chosen}) > 1


def test_the_first_is_drawn_in_proportion_to_bald():
    information = np.array([scoring.bald(GIVEN.member_log_probs[:, i]) for i in (1, 2, 3)], float)
    first = [select("powerbald", jax.random.key(seed), GIVEN, 1).chosen[0] for seed in range(80)]
    counts = np.bincount(first, minlength=5)[1:4]
    assert counts.sum() == 80
    expected = 80 * information / information.sum()
    assert scipy.stats.chisquare(counts, expected).pvalue > 0.001


def test_the_scores_are_perturbed_logarithms():
    key = jax.random.key(3)
    scores = select("powerbald", key, GIVEN, 2).scores
    noise = np.asarray(jax.random.gumbel(key, (5,)))
    information = scoring.bald(GIVEN.member_log_probs[:, 1])
    np.testing.assert_allclose(scores[1], np.log(information) + noise[1], rtol=1e-4)
    np.testing.assert_allclose(scores[4], np.log(1e-30) + noise[4], rtol=1e-4)
