"""Few labels on embeddings: which strategy is more accurate at 10 to 200 labels, with a linear head?

Embed the images once, then run a strategy at a time, and compare:

    aljax embed cifar10/ --out cifar10.npz
    python launch.py --config=configs/few_labels.py --config.dataset.data_dir=cifar10.npz \\
        --config.uncertainty=maxherding --config.initial.strategy=maxherding --workdir=runs/few/maxherding
    aljax accuracy runs/few/*

A strategy that needs a model, as margin does, leaves initial.strategy at random. What came out for CIFAR-10
is in results/few_labels. What differs from the study's protocol stands here.
"""

from ml_collections import ConfigDict

from aljax.config import study


def get_config() -> ConfigDict:
    config = study("cifar10")
    config.dataset.source = "embeddings"  # a vector for each image, computed beforehand
    config.dataset.name = "embeddings"  # as you like; the file is dataset.data_dir
    config.model.name = "linear"  # logistic regression
    config.space = "given"  # strategies compare the embeddings themselves
    config.trials = 20  # accuracies at few labels vary
    config.cycles = 20  # to 200 labels
    config.budget = 10  # one for each class, if they were drawn evenly
    config.subset_size = 3_000  # of the pool, anew in each cycle
    config.uncertainty = "random"  # the strategy whose batches are labeled
    config.diversity = "random"  # costs nothing: accuracy is the question here, and not C
    config.train.epochs = 1  # the steps below decide
    config.train.min_steps = 100  # of batches that hold all labels at first, and a third of them in the end
    config.train.batch_size = 64  # the study's 128, for few labels
    config.train.optimizer = "adamw"  # one rate for embeddings of any network
    config.train.learning_rate = 1e-3  # usual for Adam
    config.train.weight_decay = 1e-2  # of adamw, times the rate
    config.train.schedule = "cosine"  # down to 0
    config.train.detach_epoch = 1  # the loss module reads the embeddings, which nothing changes
    return config
