"""The digits 0 to 4 alone: does C turn earlier with fewer classes?

Run it with `python launch.py --config=configs/digits_few_classes.py`, and compare its C with that
of configs/digits_few_images.py, which has as many images of all ten. What differs from
configs/digits.py stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("digits")
    config.budget = 25  # half of the study's, as there are half as many images
    config.subset_size = 250  # likewise; B/M, and with it the scale of C, stays
    config.dataset.classes = 5  # 0 to 4
    config.dataset.images = 650  # of the 652 of these classes, half of the digits
    return config
