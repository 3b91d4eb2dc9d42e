"""UHerding: the images that cover best those of whose class the model is not sure.

With few labels it chooses as MaxHerding does, as all images are about as uncertain; with many labels the
radius shrinks, until it takes the most uncertain images.
"""

import jax
import numpy as np

from aljax import scoring
from aljax.ops import distances
from aljax.strategies.base import Selection, View, each, features_of, needs, of_unit_length
from aljax.strategies.maxherding import RADIUS, herded

SMALLEST_RADIUS = 0.01  # nearer than that, float32 does not tell features of length 1 apart by their products


@needs("log_probs", "features", "labeled_features")
def uherding(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images whose coverage of the sub-pool, weighted by uncertainty, gains most; no scores.

    The weight is 1 - (p_(1) - p_(2)), of the probabilities as the model gives them. The paper's other
    adaptation, a temperature for them, is left out: it is fitted on labeled images that were held out of the
    training, and aljax trains on all.

    Source: Bae, Sutherland & Oliveira, "Uncertainty Herding: One Active Learning Method for All Label
    Budgets", ICLR 2025, algorithm 1, with margin as the uncertainty and the radius adapted (section 3.3).
    """
    candidates, labeled = map(of_unit_length, features_of(view))
    weights = 1 + np.asarray(each(scoring.margin, view.log_probs))
    return herded(key, candidates, labeled, weights, adapted_radius(labeled), budget)


def adapted_radius(labeled: np.ndarray) -> float:
    """Returns the least distance between different labeled points [L, D], at least `SMALLEST_RADIUS`.

    With fewer than two different ones it is `RADIUS`.
    """
    points = np.unique(labeled, axis=0)
    return max(distances.least(points), SMALLEST_RADIUS) if len(points) > 1 else RADIUS
