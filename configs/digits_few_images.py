"""Half of the digits, of all ten classes: does C turn earlier with fewer images?

Run it with `python launch.py --config=configs/digits_few_images.py`, and compare its C with that
of configs/digits.py (more images) and configs/digits_few_classes.py (fewer classes). What differs
from configs/digits.py stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("digits")
    config.budget = 25  # half of the study's, as there are half as many images
    config.subset_size = 250  # likewise; B/M, and with it the scale of C, stays
    config.dataset.images = 650  # half of the digits
    return config
