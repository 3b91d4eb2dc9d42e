"""Street View House Numbers: the study on digits that are easy to tell apart.

Run it with `python launch.py --config=configs/svhn.py`; it is made for a GPU, and the data set
is downloaded on first use. The study conjectures that the turn of C to positive depends on the
number of classes and of images: compare with configs/cifar10.py, of which all that differs
stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.dataset.name = "svhn_cropped"  # 10 classes, 73,257 images of 32x32 pixels
    config.train.flip = False  # a mirrored digit is another sign
    return config
