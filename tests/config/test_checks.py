from pathlib import Path

import pytest

from aljax.config import checks as config
from aljax.data import dataset as data
from aljax.errors import InvalidInputError
from tests.harness import changed, load

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


@pytest.fixture
def digits():
    return load(CONFIGS[0].parent / "digits.py")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_accepted_and_comments_each_field(path):
    config.check(load(path))
    lines = [line for line in path.read_text().splitlines() if line.strip().startswith("config.")]
    assert [line for line in lines if "#" not in line and "ConfigDict" not in line] == []


def test_the_paper_s_protocol_to_the_letter():
    paper = load(CONFIGS[0].parent / "cifar10.py")
    assert [paper[name] for name in ("cycles", "budget", "subset_size", "trials")] == [10, 1000, 10_000, 5]
    assert (paper["uncertainty"], paper["diversity"]) == ("learning_loss", "core_set")
    assert paper["model"]["width"] == 64
    assert paper["dataset"]["source"] == "tfds"
    assert paper["dataset"]["name"] == "cifar10"
    assert paper["train"] == {
        "epochs": 200,
        "batch_size": 128,
        "learning_rate": 0.1,
        "milestones": (160,),
        "decay": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "ranking_weight": 1.0,
        "margin": 1.0,
        "detach_epoch": 120,
        "pad": 4,
        "flip": True,
        "one_cycle": 0.0,
        "label_smoothing": 0.0,
        "nesterov": False,
    }


REFUSALS = [
    ({"colour": 1}, "config.colour=1: unknown field; accepted: seed, trials"),
    ({"trails": 1}, "config.trails=1: unknown field (did you mean config.trials?); accepted: seed, trials"),
    ({"train__speed": 1}, "config.train.speed=1: unknown field"),
    ({"budget": ...}, "config.budget: is missing; accepted: a whole number of at least 1"),
    ({"train__epochs": "ten"}, "config.train.epochs='ten': accepted: a whole number of at least 1"),
    ({"trials": True}, "config.trials=True: accepted: a whole number"),
    ({"cycles": 2.0}, "config.cycles=2.0: accepted: a whole number"),
    ({"seed": -1}, "config.seed=-1: accepted: a whole number from 0 to 4294967295"),
    ({"cycles": 0}, "config.cycles=0: accepted"),
    ({"budget": 500}, "config.budget=500: accepted: less than config.subset_size=500"),
    ({"budget": 501}, "config.budget=501: accepted: less than config.subset_size=500"),
    ({"uncertainty": "learning_los"}, "config.uncertainty='learning_los': accepted: one of random, "),
    ({"diversity": "coreset"}, "config.diversity='coreset': accepted: one of random, "),
    ({"acquire": "both"}, "config.acquire='both': accepted: uncertainty, diversity, or one of random, "),
    ({"compare": ("margin",)}, "config.compare=('margin',): accepted: two or more different strategies"),
    ({"compare": ("margin", "margin")}, "different strategies, as in ('margin', 'core_set'), or ()"),
    ({"compare": ("margin", "marge")}, "config.compare='marge': accepted: one of random, "),
    ({"uncertainty": "bald"}, "config.ensemble=1: accepted: at least 2, as config.uncertainty='bald' asks"),
    ({"compare": ("margin", "bald")}, "config.ensemble=1: accepted: at least 2, as config.compare='bald'"),
    ({"ensemble": 0}, "config.ensemble=0: accepted: a whole number from 1"),
    ({"dataset__classes": 1}, "config.dataset.classes=1: accepted: 0 for all, or at least 2"),
    ({"devices": 5}, "config.devices=5: accepted: a divisor of config.train.batch_size=64"),
    ({"dataset__source": "web"}, "config.dataset.source='web': accepted: one of embedded, folder, tfds"),
    ({"dataset__channels": 2}, "config.dataset.channels=2: accepted: 1 (grey) or 3 (colour)"),
    ({"dataset__name": ""}, "config.dataset.name='': accepted: a name"),
    ({"first_trial": 2**32}, "config.first_trial=4294967296: accepted: a whole number from 0 to 1000000"),
    ({"model__width": 0}, "config.model.width=0: accepted"),
    ({"model__dtype": "float16"}, "config.model.dtype='float16': accepted: one of auto, float32, bfloat16"),
    ({"train__batch_size": 63}, "config.train.batch_size=63: accepted: an even number"),
    ({"train__milestones": (30, 20)}, "config.train.milestones=(30, 20): accepted: rising epochs"),
    ({"train__milestones": (20, 20)}, "config.train.milestones=(20, 20): accepted: rising epochs"),
    ({"train__milestones": (41,)}, "accepted: rising epochs of at most config.train.epochs=40"),
    ({"train__milestones": (0,)}, "config.train.milestones=(0,): accepted: epochs of at least 1"),
    ({"train__milestones": (1.5,)}, "config.train.milestones=(1.5,): accepted: epochs of at least 1"),
    ({"train__detach_epoch": 41}, "config.train.detach_epoch=41: accepted: at most config.train.epochs=40"),
    ({"train__learning_rate": 0.0}, "config.train.learning_rate=0.0: accepted: a number above 0"),
    ({"train__learning_rate": float("nan")}, "config.train.learning_rate=nan: accepted: a number above 0"),
    ({"train__decay": 1.5}, "config.train.decay=1.5: accepted: a number above 0 and at most 1"),
    ({"train__pad": 8}, "config.train.pad=8: accepted: less than config.dataset.image_size=8"),
    ({"scenario": "streams"}, "config.scenario='streams': accepted: one of pool, stream, synthesis"),
    (
        {"scenario": "stream", "uncertainty": "core_set"},
        "config.uncertainty='core_set': accepted: in a stream, one that scores each image: random, least",
    ),
    (
        {"scenario": "stream", "acquire": "diversity"},
        "config.acquire='diversity': accepted: uncertainty in a stream, whose policy asks",
    ),
    (
        {"scenario": "stream", "subset_size": 2**31 // 50 + 1},
        "config.subset_size=42949673: accepted: in a stream, at most 42949672",
    ),
    ({"stream__policy": "best"}, "config.stream.policy='best': accepted: one of fixed, variable, quantile"),
    ({"stream__threshold": float("inf")}, "config.stream.threshold=inf: accepted: a finite number"),
    ({"stream__step": 0.0}, "config.stream.step=0.0: accepted: a number above 0 and at most 0.5"),
    ({"stream__step": 0.6}, "config.stream.step=0.6: accepted: a number above 0 and at most 0.5"),
    ({"stream__window": 0}, "config.stream.window=0: accepted: a whole number of at least 1"),
    ({"synthesis__degrees": -1.0}, "config.synthesis.degrees=-1.0: accepted: a number of at least 0 and at"),
    ({"synthesis__degrees": 181.0}, "config.synthesis.degrees=181.0: accepted: a number of at least 0 and"),
    ({"synthesis__shift": -0.5}, "config.synthesis.shift=-0.5: accepted: a number of at least 0"),
    (
        {"scenario": "synthesis", "synthesis__shift": 8.0},
        "config.synthesis.shift=8.0: accepted: less than config.dataset.image_size=8",
    ),
    ({"synthesis__zoom": 0.9}, "config.synthesis.zoom=0.9: accepted: a number of at least 1 and at most 100"),
    ({"synthesis__mix": 0.6}, "config.synthesis.mix=0.6: accepted: a number of at least 0 and at most 0.5"),
    ({"synthesis__flip": 1}, "config.synthesis.flip=1: accepted: True or False"),
    (
        {
            "scenario": "synthesis",
            "synthesis__degrees": 0.0,
            "synthesis__shift": 0.0,
            "synthesis__zoom": 1.0,
            "synthesis__mix": 0.0,
        },
        "config.synthesis.degrees=0.0: accepted: above 0, where nothing else is changed either",
    ),
    ({"validation_fraction": 1.0}, "config.validation_fraction=1.0: accepted: a number of at least 0 and at"),
    ({"validation_fraction": -0.1}, "config.validation_fraction=-0.1: accepted: a number of at least 0"),
    (
        {"validation_fraction": 0.009},
        "config.validation_fraction=0.009: accepted: 0, or a share that is an image of config.budget=50",
    ),
    ({"validation_folds": 1}, "config.validation_folds=1: accepted: 0 for none, or at least 2"),
    ({"validation_folds": 51}, "config.validation_folds=51: accepted: at most config.budget=50"),
    (
        {"validation_folds": 2, "validation_fraction": 0.1},
        "config.validation_folds=2: accepted: 0, as config.validation_fraction=0.1",
    ),
    (
        {"validation_folds": 2, "scenario": "synthesis"},
        "config.validation_folds=2: accepted: 0, as an image made from a fold is not new to the others",
    ),
    (
        {"validation_folds": 2, "warm_start": True},
        "config.validation_folds=2: accepted: 0, as config.warm_start keeps what was learned of a fold",
    ),
    ({"stop__labels": 49}, "config.stop.labels=49: accepted: 0, or at least config.budget=50"),
    ({"stop__labels": -1}, "config.stop.labels=-1: accepted: a whole number of at least 0"),
    ({"stop__accuracy": 1.1}, "config.stop.accuracy=1.1: accepted: a number of at least 0 and at most 1"),
    (
        {"stop__accuracy": 0.9},
        "config.stop.accuracy=0.9: accepted: 0, or with a validation_fraction or validation_folds above 0",
    ),
    (
        {"stop__patience": 2},
        "config.stop.patience=2: accepted: 0, or with a validation_fraction or validation_folds above 0",
    ),
    ({"stop__patience": -1}, "config.stop.patience=-1: accepted: a whole number of at least 0"),
    ({"stop__tolerance": 2.0}, "config.stop.tolerance=2.0: accepted: a number of at least 0 and at most 1"),
    ({"stop__stability": 1.5}, "config.stop.stability=1.5: accepted: a number of at least 0 and at most 1"),
    ({"stop__window": 0}, "config.stop.window=0: accepted: a whole number of at least 1"),
    ({"train__one_cycle": 0.2}, "config.train.milestones=(32,): accepted: () with config.train.one_cycle"),
    (
        {"train__one_cycle": 1.0},
        "config.train.one_cycle=1.0: accepted: a number of at least 0 and at most 0.9",
    ),
    ({"train__label_smoothing": 1.0}, "config.train.label_smoothing=1.0: accepted"),
    ({"train__flip": "yes"}, "config.train.flip='yes': accepted: True or False"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS, ids=[message[:45] for _, message in REFUSALS])
def test_refusals(digits, changes, message):
    with pytest.raises(InvalidInputError) as refusal:
        config.check(changed(digits, **changes))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_whole_numbers_are_accepted_for_real_ones(digits):
    config.check(changed(digits, train__weight_decay=0, train__learning_rate=1))


def test_a_sub_pool_must_be_unlabeled_in_the_last_cycle(digits):
    dataset = data.load(**digits["dataset"])
    config.check_fits(changed(digits, subset_size=850), dataset)
    with pytest.raises(
        InvalidInputError, match=r"config\.subset_size=851: accepted: at most 850, as 450 of the 1300"
    ):
        config.check_fits(changed(digits, subset_size=851), dataset)
    with pytest.raises(InvalidInputError, match=r"config\.subset_size=500: accepted: at most -"):
        config.check_fits(changed(digits, subset_size=500, cycles=40), dataset)


def test_images_that_are_made_need_no_pool(digits):
    """But for the first sub-pool."""
    dataset = data.load(**digits["dataset"])
    config.check_fits(changed(digits, scenario="synthesis", subset_size=1300), dataset)
    with pytest.raises(InvalidInputError, match=r"config\.subset_size=1301: accepted: at most 1300"):
        config.check_fits(changed(digits, subset_size=1301), dataset)
