"""Every pair of strategies on CIFAR-10, by the study's protocol.

Run it with `python launch.py --config=configs/cifar10_pairs.py`; it is made for a GPU. Training
goes on with the Learning Loss batch, so the main pair's numbers are those of configs/cifar10.py.
robust_core_set is left out: at this size its time limit would decide what it selects. What
differs from configs/cifar10.py stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.ensemble = 3  # bald, powerbald, batchbald and vote_entropy ask several models
    config.compare = ("all", "-robust_core_set")  # whose time limit would decide what it selects
    return config
