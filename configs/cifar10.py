"""The study on CIFAR-10, to the letter: ResNet-18, Learning Loss against Core-set.

Run it with `python launch.py --config=configs/cifar10.py`; it is made for a GPU. To be
expected: C of 0 in cycle 1, about -0.36 in cycle 2 and about 0.60 in cycle 10; accuracies of
46 to 51 % at 1,000 labels and 90 to 91 % at 10,000.

The defaults of aljax/config/fields.py are the study's protocol (5 trials of 10 cycles, 1,000 of a random
10,000 images in each) and the recipe of Yoo & Kweon, CVPR 2019, section 4.1 (200 epochs, SGD at 0.1,
divided by 10 after 160; no gradient from the loss module after 120). The data is what differs.
"""

from ml_collections import ConfigDict

from aljax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.dataset.source = "tfds"  # downloaded and prepared on first use
    config.dataset.name = "cifar10"  # 10 classes, 50,000 images to train with
    config.dataset.image_size = 32  # pixels each way, as they come
    config.dataset.channels = 3  # colour
    return config
