"""The table of fields, and the configs that are made from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aljax.config import FIELDS, check, default, flatten, studies, study
from aljax.config.fields import nested
from tests.harness import config_of


@pytest.mark.parametrize("name", FIELDS)
def test_each_row_explains_itself_and_accepts_its_default(name):
    field = FIELDS[name]
    assert field.accepts(field.default)
    assert type(field.default) in (bool, int, float, str, tuple)
    assert len(field.help) > 5
    assert field.accepted


def test_the_defaults_are_the_study_s_protocol_to_the_letter():
    paper = config_of("cifar10")
    assert [paper[name] for name in ("cycles", "budget", "subset_size", "trials")] == [10, 1000, 10_000, 5]
    assert (paper["uncertainty"], paper["diversity"]) == ("learning_loss", "core_set")
    assert paper["model"]["width"] == 64
    assert (paper["dataset"]["source"], paper["dataset"]["name"]) == ("tfds", "cifar10")
    train = paper["train"]
    assert (train["epochs"], train["batch_size"], train["learning_rate"]) == (200, 128, 0.1)
    assert [share * train["epochs"] for share in train["milestones"]] == [160]
    assert (train["decay"], train["momentum"], train["weight_decay"]) == (0.1, 0.9, 5e-4)
    assert (train["ranking_weight"], train["margin"]) == (1.0, 1.0)
    assert train["detach_epoch"] * train["epochs"] == 120
    assert (train["pad"], train["flip"], train["label_smoothing"]) == (4, True, 0.0)


@pytest.mark.parametrize("name", studies.names())
def test_every_config_is_accepted_and_says_only_what_differs_and_why(name):
    check(config_of(name))
    path = studies.FOLDER / f"{name}.py"
    lines = [line for line in path.read_text().splitlines() if line.strip().startswith("config.")]
    assert [line for line in lines if "#" not in line] == []
    base = config_of("digits" if name.startswith("digits_") else "cifar10")
    differing = [field for field, value in flatten(config_of(name)).items() if value != flatten(base)[field]]
    if name not in ("digits", "cifar10"):
        assert len(lines) == len(differing)


def test_the_epochs_alone_can_be_changed():
    config = study("digits")
    config.train.epochs = 3
    check(config.to_dict())


def test_a_config_may_change_what_it_returns():
    config = study("digits")
    config.trials = 1
    assert study("digits").trials == default().trials == 5


names = st.text("abc", min_size=1, max_size=3)


@given(st.dictionaries(names, st.integers() | st.dictionaries(names, st.integers(), min_size=1)))
def test_flatten_and_nested_undo_each_other(config):
    assert nested(flatten(config)) == config
