"""aljax embed --engine=ray, with a model of a user's own, on two workers of this machine."""

import numpy as np
import pytest
from PIL import Image

from aljax.cli import embed as command
from aljax.experiment import embed

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, of its imports and its processes

MODEL = """
import os
from pathlib import Path

import numpy as np

def colour(images):
    return images.mean((1, 2))

def sees(images):
    gpu = float(os.environ.get("CUDA_VISIBLE_DEVICES") or -1)
    return 0 * images.mean((1, 2))[:, :2] + np.array([gpu, os.getpid()], np.float32)

def dies_once(images):
    if Path(__file__).with_name("armed").exists() and "default_worker" in " ".join(os.sys.argv):
        Path(__file__).with_name("armed").unlink()
        os._exit(1)
    return images.mean((1, 2))
"""


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray = pytest.importorskip("ray", reason="needs Ray (pip install 'aljax[ray]')")
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def photos(tmp_path):
    for number in range(20):
        path = tmp_path / "photos" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 30), (number, 2 * number, 0)).save(path)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    (tmp_path / "models.py").write_text(MODEL)
    return tmp_path / "photos"


@pytest.mark.parametrize("model", ["colour", "dies_once"])
def test_its_rows_are_those_of_this_process(photos, tmp_path, monkeypatch, capsys, model):
    monkeypatch.setattr(embed, "PART", 3)
    given = [str(photos), f"--model={tmp_path / 'models.py'}:{model}", "--pixels=16", "--skip-unreadable"]
    assert command.main([*given, f"--out={tmp_path / 'local.npz'}"]) == 0
    (tmp_path / "armed").touch()
    assert command.main([*given, f"--out={tmp_path / 'ray.npz'}", "--engine=ray", "--workers=2"]) == 0
    assert (tmp_path / "armed").exists() == (model == "colour")  # the worker did die
    assert "20 images x 3 values" in capsys.readouterr().out
    assert (tmp_path / "ray.npz").read_bytes() == (tmp_path / "local.npz").read_bytes()
    assert len(np.load(tmp_path / "ray.npz")["files"]) == 20


@pytest.mark.parametrize(
    ("gpus", "workers", "expected"), [(2, 0, {0: 1, 1: 1}), (1, 2, {0: 2}), (0, 2, {-1: 2})]
)
def test_workers_share_the_gpus_that_ray_has(photos, tmp_path, monkeypatch, gpus, workers, expected):
    """Ray only counts them, so that the machine need not have any."""
    import ray

    ray.shutdown()
    ray.init(
        num_cpus=4, num_gpus=gpus, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False
    )
    monkeypatch.setattr(embed, "PART", 1)
    given = [str(photos), f"--model={tmp_path / 'models.py'}:sees", "--pixels=16", "--skip-unreadable"]
    given += [f"--out={tmp_path / 'ray.npz'}", "--engine=ray", f"--workers={workers}"]
    assert command.main(given) == 0
    seen = {tuple(row) for row in np.load(tmp_path / "ray.npz")["features"].astype(int).tolist()}
    assert {gpu: sum(one == gpu for one, _ in seen) for gpu, _ in seen} == expected
