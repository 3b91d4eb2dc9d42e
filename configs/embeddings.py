"""The study on embeddings: CIFAR-10 by a pretrained network, with a head that trains in seconds.

Embed the images once, then run it:

    aljax embed cifar10/ --out cifar10.npz
    python launch.py --config=configs/embeddings.py --config.dataset.data_dir=cifar10.npz

Any file of features [N, D] and labels [N] will do, see aljax/data/sources/embeddings.py. With
--config.space=given, diversity compares the embeddings themselves; with --config.initial.strategy=typiclust
they choose the first batch. What differs from configs/cifar10.py stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.dataset.source = "embeddings"  # a vector for each image, computed beforehand
    config.dataset.name = "embeddings"  # as you like; the file is dataset.data_dir
    config.model.name = "mlp"  # one hidden layer: the features of Core-set and of the loss module
    config.train.epochs = 20  # the study's 200; a head learns faster than a network
    config.train.min_steps = 400  # few labels take more epochs
    config.train.optimizer = "adamw"  # one rate for embeddings of any network
    config.train.learning_rate = 1e-3  # usual for Adam
    config.train.weight_decay = 1e-2  # of adamw, times the rate
    config.train.schedule = "cosine"  # down to 0
    return config
