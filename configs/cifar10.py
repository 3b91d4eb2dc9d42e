"""The study on CIFAR-10, to the letter: ResNet-18, Learning Loss against Core-set.

Run it with `python launch.py --config=configs/cifar10.py`; it is made for a GPU. To be
expected: C of 0 in cycle 1, about -0.36 in cycle 2 and about 0.60 in cycle 10; accuracies of
46 to 51 % at 1,000 labels and 90 to 91 % at 10,000.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # all randomness derives from it, by name, trial and cycle
    config.trials = 5  # independent repetitions; results are means over them
    config.first_trial = 0  # number of the first; trial k is the same whatever others run
    config.cycles = 10  # of selecting, labeling and training
    config.budget = 1_000  # images labeled in each cycle
    config.subset_size = 10_000  # random unlabeled images that a cycle selects from
    config.uncertainty = "learning_loss"  # query strategy, or your own as "path/to/file.py:function"
    config.diversity = "core_set"  # query strategy that it is compared with
    config.acquire = "uncertainty"  # whose selection is labeled: uncertainty, diversity, or a strategy
    config.compare = ()  # strategies that all select in each cycle; every pair goes into pairs.jsonl
    config.ensemble = 1  # models trained on the same labels, for bald and vote_entropy; else the first counts
    config.shared_batches = False  # whether they see the same batches; their weights differ anyway
    config.warm_start = False  # train on from the weights of the cycle before, not from fresh ones
    config.scenario = "pool"  # pool, stream (images come one at a time) or synthesis (made from labeled ones)
    config.validation_fraction = 0.0  # of the labeled images, not trained on: config.stop judges by them
    config.validation_folds = 0  # the same by cross-validation: trains so many more models in each cycle
    config.retries = 0  # of a cycle's training with other weights, where its loss is not finite
    config.devices = 0  # devices to spread over; 0: all of them (of a CPU's cores, as many as pay)
    config.checkpoint_minutes = 10.0  # minutes of training between checkpoints inside a cycle

    config.dataset = ConfigDict()
    config.dataset.source = "tfds"  # embedded (in scikit-learn), tfds or folder
    config.dataset.name = "cifar10"  # as its source calls it; for a folder, as you do
    config.dataset.data_dir = ""  # where it lies; for tfds, empty is its default
    config.dataset.train_split = "train"  # the pool
    config.dataset.test_split = "test"  # what accuracy is measured on
    config.dataset.image_size = 32  # pixels each way; other images are resized
    config.dataset.channels = 3  # 1 grey, 3 colour
    config.dataset.classes = 0  # the first so many classes alone; 0: all
    config.dataset.images = 0  # a fixed random choice of so many images to train with; 0: all

    config.model = ConfigDict()
    config.model.width = 64  # channels of the first stage
    config.model.dtype = "auto"  # of computation: float32 on a CPU, else bfloat16; or one of them

    config.train = ConfigDict()  # values without a source: Yoo & Kweon, CVPR 2019, section 4.1
    config.train.epochs = 200  # passes over the labeled images
    config.train.batch_size = 128  # images, an even number
    config.train.learning_rate = 0.1  # of SGD, at first
    config.train.milestones = (160,)  # epochs after which the rate is multiplied by decay
    config.train.decay = 0.1  # factor
    config.train.momentum = 0.9  # of SGD
    config.train.weight_decay = 5e-4  # added to the gradient, times each parameter
    config.train.ranking_weight = 1.0  # of the ranking loss beside the cross-entropy
    config.train.margin = 1.0  # of the ranking loss, in units of the predicted loss
    config.train.detach_epoch = 120  # after it the ranking loss leaves the backbone alone
    config.train.pad = 4  # pixels around the image that it is cropped from
    config.train.flip = True  # mirror images left to right, half of the time
    config.train.one_cycle = 0.0  # share of the epochs in which the rate rises, to fall to 0 after; 0: off
    config.train.label_smoothing = 0.0  # share of the target that is spread over all classes
    config.train.nesterov = False  # look ahead along the momentum

    config.stream = ConfigDict()  # for config.scenario = "stream"
    config.stream.policy = "quantile"  # which images are queried: fixed, variable or quantile
    config.stream.threshold = 0.5  # of the fixed policy, in units of the uncertainty strategy's score
    config.stream.step = 0.01  # by which the variable threshold moves, as a share of it
    config.stream.window = 100  # images over which the variable policy counts what it has spent

    config.synthesis = ConfigDict()  # for config.scenario = "synthesis": how far images are changed
    config.synthesis.degrees = 15.0  # turned by at most so many, either way
    config.synthesis.shift = 3.0  # moved by at most so many pixels, along each axis
    config.synthesis.zoom = 1.3  # magnified by at most this factor
    config.synthesis.mix = 0.3  # at most this share of another image of the class
    config.synthesis.flip = True  # whether half of them are mirrored left to right

    config.stop = ConfigDict()  # when a trial ends before its last cycle; 0: this rule is off
    config.stop.labels = 0  # images labeled, at most
    config.stop.accuracy = 0.0  # validation accuracy to be reached, from 0 to 1
    config.stop.patience = 0  # cycles in which validation accuracy did not gain
    config.stop.tolerance = 0.0  # a gain is more than this
    config.stop.stability = 0.0  # mean kappa of successive models' predictions to be reached, up to 1
    config.stop.window = 3  # cycles that it is the mean over
    return config
