"""The study in miniature: handwritten digits, a narrow ResNet-18, two CPU cores.

python launch.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # all randomness derives from it, by trial, cycle and use
    config.trials = 5  # independent repetitions, counted from first_trial
    config.first_trial = 0  # the first one's number; trial k is the same in every run
    config.cycles = 10  # of selecting, labeling and training
    config.budget = 50  # images labeled in each cycle
    config.subset_size = 500  # unlabeled images that a cycle may select from, drawn anew in each
    config.uncertainty = "learning_loss"  # the query strategy whose selection is labeled
    config.diversity = "core_set"  # the one that it is compared with
    config.devices = 0  # devices to spread over; 0: all, which on a CPU are its cores
    config.checkpoint_minutes = 10.0  # of training between checkpoints inside a cycle

    config.dataset = ConfigDict()
    config.dataset.source = "embedded"  # embedded (in scikit-learn), tfds, or folder
    config.dataset.name = "digits"
    config.dataset.data_dir = ""  # for tfds (empty: its default) and folder
    config.dataset.train_split = "train"
    config.dataset.test_split = "test"
    config.dataset.image_size = 8  # pixels each way; others are resized
    config.dataset.channels = 1  # 1 grey, 3 colour

    config.model = ConfigDict()
    config.model.width = 16  # channels of the first stage; 64 in the paper
    config.model.dtype = "auto"  # float32 on a CPU, else bfloat16; or one of them

    config.train = ConfigDict()
    config.train.epochs = 40
    config.train.batch_size = 64  # images, an even number
    config.train.learning_rate = 0.1
    config.train.milestones = (32,)  # epochs after which the rate is multiplied by decay
    config.train.decay = 0.1
    config.train.momentum = 0.9
    config.train.weight_decay = 5e-4  # of all parameters, added to the gradient
    config.train.ranking_weight = 1.0  # of the ranking loss beside the cross-entropy
    config.train.margin = 1.0  # of the ranking loss, nats
    config.train.detach_epoch = 24  # after it the ranking loss leaves the backbone alone
    config.train.pad = 1  # pixels around the image from which a crop is taken
    config.train.flip = False  # whether to mirror images; digits do not allow it
    return config
