"""Tests run on two CPU devices, or on a GPU where there is one; a warning is an error (pyproject.toml)."""

import gc
import os
from importlib import metadata
from pathlib import Path

# What is compiled here runs for moments: compile fast, and once for all tests and their processes.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_backend_optimization_level=0"
    + " --xla_cpu_parallel_codegen_split_count=1"  # each process has one core
)
if metadata.version("jaxlib").startswith(("0.8.", "0.9.", "0.10.")):  # later ones end at an unknown flag
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault(  # pytest --cache-clear empties it
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "d" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ["PYTHONDONTWRITEBYTECODE"] = ""  # the processes that tests start share what Python compiles
# On a GPU: references are in float32, which is not its default; two processes share its memory.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import pytest

from aljax.runtime import compilation

compilation.set_flags()  # as aljax does: a function is found again by its flags
gc.set_threshold(20_000, 20, 100)  # tracing makes many objects, and few of them are garbage
jax.devices()  # from here on their number stays, whatever a test asks for

from aljax.models import LossPredictor, ResNet18  # noqa: E402
from aljax.runtime import mesh  # noqa: E402
from aljax.training.recipe import Recipe  # noqa: E402
from aljax.training.step import Examples, Networks  # noqa: E402
from tests.networks import TwoLayers  # noqa: E402

TINY_RECIPE = Recipe(
    epochs=4,
    batch_size=8,
    learning_rate=0.1,
    milestones=(2,),
    decay=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    ranking_weight=1.0,
    margin=1.0,
    detach_epoch=2,
    pad=1,
    flip=True,
)
TINY_NETWORKS = Networks(TwoLayers(num_classes=3), LossPredictor(hidden=4))


# Files of tests that take longest, so that both processes end at the same time: they are begun first.
LONGEST = (
    *("test_loop", "test_candidates", "test_processes", "test_page_browser", "test_benchmarks", "test_conv"),
    *("test_people", "test_tfds", "test_step", "test_sweep", "test_label_docs", "test_make"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_collection_finish():
    gc.freeze()  # what is imported by now is looked at no more


def enough(count):
    """Skips what needs more devices than there are."""
    if jax.local_device_count() < count:
        pytest.skip(f"needs {count} devices, and there is {jax.local_device_count()}")


@pytest.fixture
def two_devices():
    enough(2)


@pytest.fixture
def recipe():
    return TINY_RECIPE


@pytest.fixture
def networks():
    return TINY_NETWORKS


@pytest.fixture
def resnet():
    """The study's own network, for what depends on the network."""
    return Networks(ResNet18(num_classes=3, width=2), LossPredictor(hidden=4))


@pytest.fixture(scope="session", params=[1, 2], ids=["1 device", "2 devices"])
def devices(request):
    enough(request.param)
    return mesh.local(request.param, batch_size=8)


@pytest.fixture(scope="session")
def examples():
    """48 images of 8x8x3 pixels in 3 classes that differ in brightness."""
    key, noise_key = jax.random.split(jax.random.key(0))
    labels = jax.random.randint(key, (48,), 0, 3)
    images = 60 * labels[:, None, None, None] + jax.random.randint(noise_key, (48, 8, 8, 3), 0, 100)
    return Examples(
        images.astype("uint8"), labels.astype("int32"), jax.numpy.full(3, 110.0), jax.numpy.full(3, 60.0)
    )
