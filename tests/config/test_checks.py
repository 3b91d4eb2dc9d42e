"""Refusals of a config, and their words."""

import pytest

from aljax import config
from aljax.errors import InvalidInputError
from tests.harness import changed, config_of


@pytest.fixture
def digits():
    return config_of("digits")


REFUSALS = [
    ({"colour": 1}, "config.colour=1: unknown field; accepted: seed, trials"),
    ({"trails": 1}, "config.trails=1: unknown field; did you mean config.trials?; accepted: seed, trials"),
    ({"train__speed": 1}, "config.train.speed=1: unknown field"),
    ({"epochs": 1}, "config.epochs=1: unknown field; did you mean config.train.epochs?; accepted: seed"),
    ({"budget": ...}, "config.budget: is missing; accepted: a whole number of at least 1, below 2^31"),
    ({"budget": 2**31}, "config.budget=2147483648: accepted: a whole number of at least 1, below 2^31"),
    (
        {"train__epochs": "ten"},
        "config.train.epochs='ten': accepted: a whole number of at least 1, below 2^31",
    ),
    ({"trials": True}, "config.trials=True: accepted: a whole number"),
    ({"cycles": 2.0}, "config.cycles=2.0: accepted: a whole number"),
    ({"seed": -1}, "config.seed=-1: accepted: a whole number from 0 to 4294967295"),
    ({"cycles": 0}, "config.cycles=0: accepted"),
    ({"budget": 500}, "config.budget=500: accepted: less than config.subset_size=500"),
    ({"budget": 501}, "config.budget=501: accepted: less than config.subset_size=500"),
    ({"compare": ("margin",)}, "config.compare=('margin',): accepted: two or more different strategies"),
    ({"compare": ("margin", "margin")}, "different strategies, as in ('margin', 'core_set') or"),
    (
        {"space": "given"},
        "config.space='given': accepted: 'model', or with config.dataset.source='embeddings'",
    ),
    ({"space": "pixels"}, "config.space='pixels': accepted: one of model, given"),
    (
        {"dataset__source": "embeddings"},
        "config.model.name='resnet18': accepted: with embeddings, linear, mlp, or your own of inputs [B, D]",
    ),
    (
        {"dataset__source": "embeddings", "model__name": "mlp", "scenario": "synthesis"},
        "config.scenario='synthesis': accepted: pool or stream, as embeddings are no images to change",
    ),
    ({"initial__budget": 500}, "config.initial.budget=500: accepted: 0, or less than config.subset_size=500"),
    ({"initial__budget": 3, "validation_folds": 4}, "config.validation_folds=4: accepted: at most config.in"),
    ({"ensemble": 0}, "config.ensemble=0: accepted: a whole number from 1"),
    ({"dataset__classes": 1}, "config.dataset.classes=1: accepted: 0, or at least 2, below 2^31"),
    ({"devices": 5}, "config.devices=5: accepted: a divisor of config.train.batch_size=64"),
    ({"dataset__channels": 2}, "config.dataset.channels=2: accepted: 1 (grey) or 3 (colour)"),
    ({"dataset__name": ""}, "config.dataset.name='': accepted: a name"),
    ({"first_trial": 2**32}, "config.first_trial=4294967296: accepted: a whole number from 0 to 1000000"),
    ({"model__width": 0}, "config.model.width=0: accepted"),
    ({"model__dtype": "float16"}, "config.model.dtype='float16': accepted: one of auto, float32, bfloat16"),
    ({"train__batch_size": 63}, "config.train.batch_size=63: accepted: an even number"),
    (
        {"train__milestones": (30, 20)},
        "config.train.milestones=(30, 20): accepted: rising shares of the epochs below 1, or epochs",
    ),
    ({"train__milestones": (20, 20)}, "config.train.milestones=(20, 20): accepted: rising shares"),
    ({"train__milestones": (41,)}, "or (120, 160), at most config.train.epochs=40"),
    ({"train__milestones": (0,)}, "config.train.milestones=(0,): accepted: rising shares"),
    ({"train__milestones": (0.5, 10)}, "config.train.milestones=(0.5, 10): accepted: rising shares"),
    ({"train__milestones": ("a",)}, "config.train.milestones=('a',): accepted: rising shares"),
    ({"train__detach_epoch": 41}, "config.train.detach_epoch=41: accepted: at most config.train.epochs=40"),
    ({"train__learning_rate": 0.0}, "config.train.learning_rate=0.0: accepted: a finite float32 above 0"),
    (
        {"train__learning_rate": float("nan")},
        "config.train.learning_rate=nan: accepted: a finite float32 above 0",
    ),
    ({"train__learning_rate": 1e-60}, "config.train.learning_rate=1e-60: accepted: a finite float32 above 0"),
    ({"train__decay": 1.5}, "config.train.decay=1.5: accepted: a number above 0 and at most 1"),
    ({"train__pad": 8}, "config.train.pad=8: accepted: less than config.dataset.image_size=8"),
    ({"scenario": "streams"}, "config.scenario='streams': accepted: one of pool, stream, synthesis"),
    (
        {"scenario": "stream", "acquire": "diversity"},
        "config.acquire='diversity': accepted: uncertainty in a stream, whose policy asks",
    ),
    (
        {"scenario": "stream", "subset_size": 2**31 // 50 + 1},
        "config.subset_size=42949673: accepted: in a stream, at most 42949672",
    ),
    ({"stream__policy": "best"}, "config.stream.policy='best': accepted: one of fixed, variable, quantile"),
    ({"stream__threshold": float("inf")}, "config.stream.threshold=inf: accepted: a number"),
    ({"stream__step": 0.0}, "config.stream.step=0.0: accepted: a number above 0 and at most 0.5"),
    ({"stream__step": 0.6}, "config.stream.step=0.6: accepted: a number above 0 and at most 0.5"),
    ({"stream__window": 2**31}, "config.stream.window=2147483648: accepted: a whole number"),
    (
        {"cycles": 10**6, "budget": 3000, "subset_size": 3001},
        "config.cycles=1000000: accepted: at most 715827",
    ),
    ({"trials": 10**6}, "config.trials=1000000: accepted: at most 100000 with config.cycles=10"),
    ({"stream__window": 0}, "config.stream.window=0: accepted: a whole number of at least 1, below 2^31"),
    ({"synthesis__degrees": -1.0}, "config.synthesis.degrees=-1.0: accepted: a number of at least 0 and at"),
    ({"synthesis__degrees": 181.0}, "config.synthesis.degrees=181.0: accepted: a number of at least 0 and"),
    ({"synthesis__shift": -0.5}, "config.synthesis.shift=-0.5: accepted: a finite float32 of at least 0"),
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
    ({"validation_folds": 1}, "config.validation_folds=1: accepted: 0, or at least 2, below 2^31"),
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
    ({"stop__labels": -1}, "config.stop.labels=-1: accepted: a whole number of at least 0, below 2^31"),
    ({"stop__accuracy": 1.1}, "config.stop.accuracy=1.1: accepted: a number of at least 0 and at most 1"),
    (
        {"stop__accuracy": 0.9},
        "config.stop.accuracy=0.9: accepted: 0, or with a validation_fraction or validation_folds above 0",
    ),
    (
        {"stop__patience": 2},
        "config.stop.patience=2: accepted: 0, or with a validation_fraction or validation_folds above 0",
    ),
    ({"stop__patience": -1}, "config.stop.patience=-1: accepted: a whole number of at least 0, below 2^31"),
    ({"stop__tolerance": 2.0}, "config.stop.tolerance=2.0: accepted: a number of at least 0 and at most 1"),
    ({"stop__stability": 1.5}, "config.stop.stability=1.5: accepted: a number of at least 0 and at most 1"),
    ({"stop__window": 0}, "config.stop.window=0: accepted: a whole number of at least 1, below 2^31"),
    ({"train__warmup": 1.0}, "config.train.warmup=1.0: accepted: a number of at least 0 and at most 0.9"),
    ({"train__warmup": 0.9}, "config.train.warmup=0.9: accepted: at most config.train.milestones=(0.8,)"),
    (
        {"train__min_steps": -1},
        "config.train.min_steps=-1: accepted: a whole number of at least 0, below 2^31",
    ),
    ({"model__initialization": "zero"}, "accepted: one of he_fan_out, torch_default"),
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


def test_the_images_must_last_to_the_last_cycle(digits):
    config.check_fits(changed(digits, subset_size=850), 1300)
    with pytest.raises(
        InvalidInputError,
        match=r"config\.cycles=10: accepted: at most 9, as each labels 50 of the 1300 images and selects "
        r"from 851 others; or with a config\.subset_size of at most 850",
    ):
        config.check_fits(changed(digits, subset_size=851), 1300)
    with pytest.raises(InvalidInputError, match=r"config\.cycles=40: accepted: at most 17, as .* others$"):
        config.check_fits(changed(digits, subset_size=500, cycles=40), 1300)


def test_images_that_are_made_need_no_pool(digits):
    """But for the first sub-pool."""
    config.check_fits(changed(digits, scenario="synthesis", subset_size=1300), 1300)
    with pytest.raises(InvalidInputError, match=r"config\.subset_size=1301: accepted: at most 1300"):
        config.check_fits(changed(digits, subset_size=1301), 1300)
