"""Random: a uniform draw, the baseline of every comparison."""

import jax

from aljax.scoring import PROBABILITY
from aljax.strategies.base import Selection, View, highest, needs, scored


@needs()
@scored(PROBABILITY)
def random(key: jax.Array, view: View, budget: int) -> Selection:
    """Draws images uniformly without replacement; needs no model."""
    return highest(key, jax.random.uniform(key, (view.subset_size,)), budget)
