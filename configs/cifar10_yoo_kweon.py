"""Learning Loss as its authors train it: weights are carried on from cycle to cycle.

Run it with `python launch.py --config=configs/cifar10_yoo_kweon.py`; it is made for a GPU. What
differs from configs/cifar10.py, the study's recipe, stands here. Source: Yoo & Kweon, "Learning
Loss for Active Learning", CVPR 2019, section 4.1.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.warm_start = True  # each cycle trains on from the last; the study begins afresh each time
    return config
