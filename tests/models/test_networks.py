import flax.linen as nn
import jax.numpy as jnp
import pytest

from aljax import models
from aljax.errors import InvalidInputError

CONFIG = {"name": "resnet18", "width": 4, "dtype": jnp.dtype("float32"), "initialization": "torch_default"}
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
"""


def build(name):
    return models.build(5, {**CONFIG, "name": name}, (8, 8, 3))


def test_a_network_is_built_by_its_name_from_the_config():
    assert build("resnet18") == models.ResNet18(5, 4, jnp.dtype("float32"), "torch_default")


def test_a_user_s_own_network_keeps_the_contract_or_is_refused_in_one_line(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    assert isinstance(build(f"{file}:linear"), nn.Module)
    for name, complaint in (
        (
            "one_more",
            r"its outputs for 2 images have shapes \(\(2, 6\), \[\(2, 192\)\]\); accepted",
        ),
        ("none", "it raised AttributeError"),
    ):
        with pytest.raises(InvalidInputError, match=complaint) as refusal:
            build(f"{file}:{name}")
        assert "\n" not in str(refusal.value)
    with pytest.raises(InvalidInputError, match="did you mean 'resnet18'"):
        build("resnet81")
