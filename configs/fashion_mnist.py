"""Fashion-MNIST: the study on grey images of clothes.

Run it with `python launch.py --config=configs/fashion_mnist.py`; it is made for a GPU, and the
data set is downloaded on first use. All that differs from configs/cifar10.py stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.dataset.name = "fashion_mnist"  # 10 classes, 60,000 images
    config.dataset.image_size = 28  # pixels each way, as they come
    config.dataset.channels = 1  # grey
    return config
