"""Learning Loss: the images whose loss a module of the network predicts to be highest."""

import jax

from aljax.scoring import LOGARITHM
from aljax.strategies.base import Selection, View, highest, needs, scored


@needs("predicted_loss")
@scored(LOGARITHM)
def learning_loss(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images of highest predicted loss.

    Source: Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019, section 3.1.
    """
    return highest(key, view.predicted_loss, budget)
