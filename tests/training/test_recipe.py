import pytest

from aljax.config import FIELDS, flatten
from aljax.training import recipe as recipes
from aljax.training.recipe import Recipe
from tests.harness import config_of


def test_a_field_that_no_recipe_knows_is_left_out():
    train = config_of("digits")["train"]
    assert recipes.from_config({**train, "unheard_of": 1}) == recipes.from_config(train)
    assert {f"train.{name}" for name in Recipe._fields} <= set(FIELDS)


def test_a_recipe_takes_its_defaults_from_the_table():
    table = {name: field.default for name, field in FIELDS.items() if name.startswith("train.")}
    made = recipes.from_config({name.removeprefix("train."): value for name, value in table.items()})
    assert {f"train.{name}": value for name, value in made._asdict().items()} == flatten(table)
    assert all(table[f"train.{name}"] == value for name, value in Recipe._field_defaults.items())


def test_a_place_is_a_share_below_1_and_an_epoch_from_1_on(recipe):
    paper = recipe._replace(epochs=200)
    assert recipes.share_of(160, paper) == recipes.share_of(0.8, paper) == 0.8
    assert recipes.share_of(0, paper) == 0
    assert recipes.share_of(200, paper) == 1


@pytest.mark.parametrize(
    ("min_steps", "num_labeled", "epochs"),
    [(0, 50, 40), (1600, 50, 1600), (1600, 100, 800), (1600, 500, 200), (1601, 100, 801), (100, 500, 40)],
)
def test_a_floor_of_steps_makes_more_epochs(recipe, min_steps, num_labeled, epochs):
    digits = recipe._replace(epochs=40, batch_size=64, min_steps=min_steps)
    assert recipes.epochs_of(digits, num_labeled) == epochs
    steps = recipes.steps_of(digits, num_labeled)
    assert steps == epochs * -(-num_labeled // 64)
    assert steps >= min_steps


def test_the_first_cycle_of_the_study_has_1600_steps():
    assert recipes.steps_of(recipes.from_config(config_of("cifar10")["train"]), 1000) == 1600
