import json
import sys

import numpy as np
import pytest

from aljax.strategies import STRATEGIES
from benchmarks import common, growth, kcenter


def test_functions_take_turns():
    calls = []
    times = common.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == list("ab" + "abab")  # one round to warm up
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
    for name in ("aljax, 1 device", "aljax, 2 devices", "scikit-learn", "numpy", "plain loop"):
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
    assert [point["value"] for point in axes["devices"]] == [1, 2]
    for axis in ("pool", "budget", "features", "devices"):
        for point in axes[axis]:
            assert list(point["lines"]) == names
            assert point["problem"][axis] == point["value"]
            assert all(line["seconds"] > 0 for line in point["lines"].values())
    assert [list(point["lines"]) for point in axes["strategies"]] == [["all together"]] * 2
    for suffix, begin in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        assert (tmp_path / f"growth.{suffix}").read_bytes().startswith(begin)
