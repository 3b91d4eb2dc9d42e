"""The study on CIFAR-10 at its own size, on a CPU: an hour and a quarter for a trial on two idle cores.

Run it with `python launch.py --config=configs/cifar10_cpu.py`; images in a folder are read with
`--config.dataset.source=folder --config.dataset.data_dir=DIR`. The network and the recipe are made for few
epochs: a network after airbench, one cycle of the rate, Nesterov's momentum. Pool, budgets,
augmentation and the two strategies are the study's. What differs from configs/cifar10.py stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.model.name = "airbench"  # learns in few epochs, at a third of the work of ResNet-18 as wide
    config.train.epochs = 40  # passes over the labeled images
    config.train.min_steps = 1_000  # with few labels as many more epochs, until they are fitted
    config.train.batch_size = 64  # images, half as many for twice the steps
    config.train.schedule = "one_cycle"  # up in a straight line, and in another down to 0
    config.train.warmup = 0.2  # share of the training in which the rate rises
    config.train.nesterov = True  # look ahead along the momentum
    return config
