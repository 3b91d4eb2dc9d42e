import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from aljax import models
from aljax.errors import InvalidInputError
from aljax.models.linear import Linear
from aljax.models.mlp import MLP

CONFIG = {
    "name": "resnet18",
    "width": 4,
    "depth": 2,
    "dtype": jnp.dtype("float32"),
    "initialization": "torch_default",
}
OWN = """
import flax.linen as nn

class Linear(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(len(images), -1)
        return nn.Dense(self.classes)(x), (x,)

def linear(num_classes, config):
    return Linear(num_classes)

def one_more(num_classes, config):
    return Linear(num_classes + 1)

def none(num_classes, config):
    return None

class Empty(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return None

def nothing(num_classes, config):
    return Empty()

class Noisy(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        x = nn.Dropout(0.5, deterministic=not train)(images.reshape(len(images), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(5)(x), (x,)

class Flat(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(5)(images.reshape(len(images), -1)), (images.reshape(len(images), -1)[:, 0],)

class Counting(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        self.variable("counts", "calls", lambda: 0)
        return nn.Dense(5)(images.reshape(len(images), -1)), (images,)

class Claiming(nn.Module):
    meet_in_batch_norm = True

    @nn.compact
    def __call__(self, images, train):
        return Noisy()(images, train)

def claiming(num_classes, config):
    return Claiming()

def noisy(num_classes, config):
    return Noisy()

def flat(num_classes, config):
    return Flat()

def counting(num_classes, config):
    return Counting()

class Narrow(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return nn.Conv(5, (3, 3), padding="NONE")(images), (images,)

def narrow(num_classes, config):
    return Narrow()
"""


def build(name):
    return models.build(5, {**CONFIG, "name": name}, (8, 8, 3))


def test_a_network_is_built_by_its_name_from_the_config():
    assert build("resnet18") == models.ResNet18(5, 4, jnp.dtype("float32"), "torch_default")
    assert build("linear") == Linear(5, "torch_default")
    assert build("mlp") == MLP(5, 4, 2, jnp.dtype("float32"), "torch_default")


@pytest.mark.parametrize("name", ["linear", "mlp"])
@pytest.mark.parametrize("shape", [(8, 8, 3), (7,)])
def test_heads_take_images_and_embeddings(name, shape):
    network = models.build(5, {**CONFIG, "name": name}, shape)
    (logits, stages), _ = network.init_with_output(jax.random.key(0), jnp.zeros((2, *shape)), train=False)
    assert logits.shape == (2, 5)
    predictor = models.LossPredictor(hidden=4)
    assert predictor.init_with_output(jax.random.key(0), stages)[0].shape == (2,)


def test_a_user_s_own_network_keeps_the_contract_or_is_refused_in_one_line(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    for name in ("linear", "noisy"):
        assert isinstance(build(f"{file}:{name}"), nn.Module)
    for name, complaint in (
        (
            "one_more",
            r"its outputs for 2 images have shapes \(\(2, 6\), \[\(2, 192\)\]\); accepted",
        ),
        ("none", "it raised TypeError: None is no flax.linen.Module; accepted"),
        ("nothing", "it raised TypeError: a call returns None, and not a pair; accepted"),
        ("narrow", r"it raised .*\(own.py, line 69\); accepted"),
        ("flat", r"its outputs for 2 images have shapes \(\(2, 5\), \[\(2,\)\]\); accepted"),
        ("counting", "it raised .*counts"),
        ("claiming", "says meet_in_batch_norm=True and has flax's BatchNorm and Dropout; accepted"),
    ):
        with pytest.raises(InvalidInputError, match=complaint) as refusal:
            build(f"{file}:{name}")
        assert "\n" not in str(refusal.value)
    with pytest.raises(InvalidInputError, match="did you mean 'resnet18'"):
        build("resnet81")
