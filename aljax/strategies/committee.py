"""Query by committee: the images on whose class the models of an ensemble disagree."""

import jax

from aljax import scoring
from aljax.strategies.base import Selection, View, each, highest, needs, scored


@needs("member_log_probs")
@scored(scoring.LOGARITHM)
def bald(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images whose class has most mutual information with the choice of the model.

    Source: Houlsby et al., 2011, equation 2; see `aljax.scoring.bald`.
    """
    return highest(key, each(scoring.bald, view.member_log_probs, image_axis=1), budget)


@needs("member_log_probs")
@scored(scoring.LOGARITHM)
def vote_entropy(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images on whose class the votes of the models have the highest entropy.

    E models have few different votes, so that most of a batch may be drawn among ties: two models
    agree or do not.

    Source: Dagan & Engelson, ICML 1995; see `aljax.scoring.vote_entropy`.
    """
    return highest(key, each(scoring.vote_entropy, view.member_log_probs, image_axis=1), budget)
