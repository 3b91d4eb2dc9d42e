"""Uncertainty sampling: the images whose class one model is least sure of.

Source: Settles, "Active Learning Literature Survey", 2009, section 3.1; see `aljax.scoring`.
"""

import jax

from aljax import scoring
from aljax.strategies.base import Selection, View, each, highest, needs, scored


@needs("log_probs")
@scored(scoring.PROBABILITY)
def least_confidence(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images whose likeliest class is least likely."""
    return highest(key, each(scoring.least_confidence, view.log_probs), budget)


@needs("log_probs")
@scored(scoring.GAP)
def margin(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images whose two likeliest classes are closest in probability."""
    return highest(key, each(scoring.margin, view.log_probs), budget)


@needs("log_probs")
@scored(scoring.LOGARITHM)
def entropy(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images whose class has the highest entropy."""
    return highest(key, each(scoring.entropy, view.log_probs), budget)
