"""Every pair of strategies on the digits: which of them agree, and when?

Run it with `python launch.py --config=configs/digits_pairs.py`. In each cycle all of them select
from the same model and the same sub-pool; C of every pair goes into pairs.jsonl, and the report
shows the matrix. What differs from configs/digits.py stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("digits")
    config.trials = 3  # that it takes minutes
    config.ensemble = 3  # bald, powerbald, batchbald and vote_entropy ask several models
    config.compare = ("all",)  # every strategy that aljax has
    return config
