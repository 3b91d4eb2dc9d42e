"""Street View House Numbers: the study on digits that are easy to tell apart.

Run it with `python launch.py --config=configs/svhn.py`; it is made for a GPU, and the data set
is downloaded on first use. The study conjectures that the turn of C to positive depends on the
number of classes and of images: compare with configs/cifar10.py, of which all that differs
stands here.
"""

from ml_collections import ConfigDict

from configs import cifar10


def get_config() -> ConfigDict:
    config = cifar10.get_config()
    config.dataset.name = "svhn_cropped"  # 10 classes, 73,257 images of 32x32 pixels
    config.train.flip = False  # a mirrored digit is another sign
    config.train.one_cycle = 0.0  # share of the epochs in which the rate rises, to fall to 0 after; 0: off
    config.train.label_smoothing = 0.0  # share of the target that is spread over all classes
    config.train.nesterov = False  # look ahead along the momentum
    return config
