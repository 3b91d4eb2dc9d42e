"""CIFAR-100: the study with ten times the classes.

Run it with `python launch.py --config=configs/cifar100.py`; it is made for a GPU, and the data set
is downloaded on first use. The study conjectures that the turn of C to positive depends on the
number of classes and of images: compare with configs/cifar10.py, of which all that differs
stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.dataset.name = "cifar100"  # 100 classes, 50,000 images of 32x32 pixels
    return config
