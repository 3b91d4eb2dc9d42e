"""PowerBALD: images drawn by their mutual information, and not the highest of it alone.

A batch of the highest scores holds near-duplicates; drawing in proportion to the scores models how they
would fall as the batch grows.
"""

import jax
import jax.numpy as jnp

from aljax import scoring
from aljax.strategies.base import Selection, View, each, highest, needs, scored

ROUNDING = 1e-6  # nats: a score up to this is none
NONE = 1e-30  # stands for it, so that its logarithm is finite


@needs("member_log_probs")
@scored(scoring.LOGARITHM)
def powerbald(key: jax.Array, view: View, budget: int) -> Selection:
    """Draws images without replacement, in proportion to BALD's score; those of score 0 come last.

    The scores are log BALD + g with noise g of Gumbel(0, 1), the power acquisition of beta = 1.

    Source: Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron & Gal, "Stochastic Batch Acquisition: A
    Simple Baseline for Deep Active Learning", TMLR 2023 (first as "A Simple Baseline for Batch Active
    Learning with Stochastic Acquisition Functions", 2021), section 3.
    """
    information = each(scoring.bald, view.member_log_probs, image_axis=1)
    noise = jax.random.gumbel(key, information.shape)
    return highest(key, jnp.log(jnp.where(information > ROUNDING, information, NONE)) + noise, budget)
