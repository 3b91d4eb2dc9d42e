"""The study in miniature: scikit-learn's 8x8 digits and a narrow ResNet-18, for two CPU cores.

Run it with `python launch.py`. To be expected: C of about 0.2 in cycle 2, 0.6 in cycle 6 and 0.4 in
cycle 10; accuracies of 78 % at 50 labels and 98 to 99 % at 500. What differs from the study's protocol
(aljax/config/fields.py) stands here.
"""

from ml_collections import ConfigDict

from aljax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.budget = 50  # images labeled in each cycle; 500 of the 1,300 in the end
    config.subset_size = 500  # a tenth of it is labeled, as in the study: B/M sets the scale of C
    config.model.width = 8  # channels of the first stage; enough for 8x8 pixels
    config.train.epochs = 40  # the study's 200, scaled
    config.train.min_steps = 800  # few labels take more epochs; the training loss is near 0 by then
    config.train.batch_size = 64  # the study's 128, scaled
    config.train.pad = 1  # pixels; the study's 4, scaled with the images
    config.train.flip = False  # a mirrored digit is another sign
    config.synthesis.shift = 1.0  # pixels, scaled likewise
    config.synthesis.zoom = 1.2  # a digit fills its image
    config.synthesis.flip = False  # a mirrored digit is another sign
    return config
