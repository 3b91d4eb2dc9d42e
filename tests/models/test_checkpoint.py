"""Checkpoints of vision transformers: small random ones, written by jax-image-models, and what is refused."""

import json
import sys

import jax
import numpy as np
import pytest

from aljax.errors import InvalidInputError
from aljax.models import checkpoint, encoders

VIT = {
    "model_type": "vit",
    "image_size": 16,
    "patch_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "id2label": {"0": "a", "1": "b"},
}
VISION = {"image_size": 16, "patch_size": 8, "num_hidden_layers": 1, "hidden_size": 64}
HEADS = {"num_attention_heads": 1, "intermediate_size": 256}


def write(folder, config, weights=b"", **files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(weights)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def saved(folder, config):
    """Writes a checkpoint with random weights; returns its network."""
    import jimm
    from flax import nnx
    from jimm.common.sharding import NoSharding

    kind = getattr(jimm, checkpoint.FAMILIES[config["model_type"]].name)
    automatic = (jax.sharding.AxisType.Auto,)
    with jax.set_mesh(jax.make_mesh((1,), ("device",), automatic, devices=jax.devices()[:1])):
        module = kind.from_config(config, rngs=nnx.Rngs(7), sharding=NoSharding())
        module.save_pretrained(str(folder))
    write(folder, config, (folder / "model.safetensors").read_bytes())
    module.eval()  # without dropout
    return module


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A ViT with random weights, and its folder."""
    pytest.importorskip(
        "jimm", reason="jax-image-models is not installed (extra: checkpoints)", exc_type=ImportError
    )
    pytest.importorskip(
        "huggingface_hub",
        reason="huggingface-hub is not installed (extra: checkpoints)",
        exc_type=ImportError,
    )
    folder = tmp_path_factory.mktemp("checkpoints") / "vit"
    return saved(folder, VIT), folder


def test_embeddings_are_those_before_the_classifier(vit):
    module, folder = vit
    encoder = encoders.find(str(folder))
    assert (encoder.name, encoder.pixels) == ("vit", 16)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    found = jax.jit(encoder.apply)(encoder.variables, images)
    assert found.shape == (3, 16)
    np.testing.assert_allclose(found, module.encoder(images / np.float32(127.5) - 1), atol=1e-5)
    one_by_one = jax.jit(
        lambda variables, images: jax.lax.map(lambda image: encoder.apply(variables, image[None])[0], images)
    )
    np.testing.assert_allclose(one_by_one(encoder.variables, images), found, atol=1e-5)
    assert len(encoder.origin["weights_sha256"]) == 64


def test_the_preprocessing_is_the_checkpoint_s(vit, tmp_path):
    _, folder = vit
    preprocessor_config = {"image_mean": [0.1, 0.2, 0.3], "image_std": 0.4}
    weights = (folder / "model.safetensors").read_bytes()
    encoder = encoders.find(
        str(write(tmp_path / "own", VIT, weights, preprocessor_config=preprocessor_config))
    )
    assert encoder.origin["mean"] == [0.1, 0.2, 0.3]
    assert encoder.origin["std"] == [0.4, 0.4, 0.4]


def test_weights_that_are_missing_are_not_drawn(vit, tmp_path):
    from safetensors.numpy import load_file, save

    _, folder = vit
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.removeprefix("vit."): tensor for name, tensor in tensors.items()}
    with pytest.raises(
        InvalidInputError, match=r"model\.safetensors lacks weights of encoder\..*; accepted: a whole"
    ):
        encoders.find(str(write(tmp_path / "renamed", VIT, save(renamed))))
    wide = {**VIT, "hidden_size": 32}
    with pytest.raises(
        InvalidInputError, match=r"Shape mismatch for .*; accepted: a checkpoint whose weights"
    ):
        encoders.find(str(write(tmp_path / "wide", wide, save(tensors))))
    with pytest.raises(
        InvalidInputError, match=r"accepted: a checkpoint whose weights are those of its config\.json"
    ):
        encoders.find(str(write(tmp_path / "damaged", VIT, b"no tensors")))


@pytest.mark.parametrize(
    ("config", "pixels", "expected"),
    [
        (
            {"model_type": "bert"},
            0,
            r"config\.json is not understood .*; accepted: a folder with config\.json and",
        ),
        ([], 0, r"config\.json is not understood"),
        ({**VIT, "hidden_act": "relu"}, 0, r"hidden_act='relu': jax-image-models computes 'gelu' alone"),
        ({**VIT, "layer_norm_eps": 1e-6}, 0, "layer_norm_eps=1e-06: jax-image-models computes 1e-12 alone"),
        (
            {
                "model_type": "siglip",
                "vision_config": {**VISION, "num_attention_heads": 2, "intermediate_size": 256},
            },
            0,
            "num_attention_heads=2: jax-image-models computes 1 alone",
        ),
        (
            {"model_type": "clip", "vision_config": {**VISION}},
            0,
            "num_attention_heads=12: .* computes 1 alone",
        ),
        (VIT, 32, r"--pixels=32: accepted with --model='.*': 16, as its config\.json says"),
    ],
    ids=lambda value: value.get("model_type") if isinstance(value, dict) else "",
)
def test_what_the_package_does_not_compute_is_refused(tmp_path, config, pixels, expected):
    with pytest.raises(InvalidInputError, match=expected):
        encoders.find(str(write(tmp_path / "one", config)), pixels)


def test_a_preprocessing_that_is_no_numbers(tmp_path):
    folder = write(tmp_path / "one", VIT, preprocessor_config={"image_mean": [0.5, 0.5]})
    with pytest.raises(
        InvalidInputError, match=r"preprocessor_config\.json: .*; accepted: image_mean and image_std"
    ):
        encoders.find(str(folder))


def test_the_package_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jimm", None)
    with pytest.raises(
        InvalidInputError, match=r"needs packages that are not installed .*aljax\[checkpoints\]"
    ):
        checkpoint.load(write(tmp_path / "one", VIT), 0)


@pytest.mark.parametrize("family", ["clip", "siglip", "dinov2", "dinov3_vit"])
def test_every_family(vit, tmp_path, family):
    config = {**VIT, "model_type": family}
    if checkpoint.FAMILIES[family].section:
        config = {
            "model_type": family,
            "vision_config": {**VISION, **HEADS},
            "text_config": {"hidden_size": 24},
        }
    module = saved(tmp_path / family, config)
    encoder = encoders.find(str(tmp_path / family))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    mean, std = (np.float32(one) for one in checkpoint.FAMILIES[family].norm)
    found = jax.jit(encoder.apply)(encoder.variables, images)
    np.testing.assert_allclose(found, module((images / np.float32(255) - mean) / std), atol=1e-5)
