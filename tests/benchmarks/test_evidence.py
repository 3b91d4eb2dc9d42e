"""The set of runs behind docs/evidence.md: every field is one, and the set goes on and ends with a report."""

import json
from pathlib import Path

import pytest

from aljax.config import FIELDS, checks, study
from benchmarks import evidence
from tests.harness import make_run

DOCS = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text()


@pytest.mark.parametrize("name", evidence.SETTINGS)
def test_every_setting_is_a_config_and_is_documented(name):
    config = study("digits")
    for field in evidence.SETTINGS[name]:
        dotted, _, value = field.partition("=")
        config.update_from_flattened_dict({dotted: type(FIELDS[dotted].default)(value)})
    checks.check(config.to_dict())
    assert f"`{name}`" in DOCS


def test_the_set_runs_one_after_the_other_and_ends_with_the_report(tmp_path, monkeypatch, capsys):
    started = []

    def run(line):
        name = Path(next(part for part in line if part.startswith("--workdir=")).partition("=")[2]).name
        started.append(name)
        if name != "entropy":
            make_run(tmp_path / name, seed=len(started), trials=3)
        return 1 if name == "entropy" else 0

    monkeypatch.setattr(evidence, "run", run)
    monkeypatch.setattr(evidence.os, "nice", lambda by: by)
    arguments = ["base", "width_4", "entropy", f"--folder={tmp_path}"]
    assert evidence.main(arguments) == 1
    assert started == ["base", "width_4", "entropy"]
    printed = capsys.readouterr().out
    assert "most closely correlated with" in printed
    assert "failed: entropy" in printed
    rows = json.loads((tmp_path / "explanation.json").read_text())["rows"]
    assert rows[0]["measure"] == "accuracy"
    assert len(rows[0]["overall"]) == 3
    points = (tmp_path / "points.csv").read_text().splitlines()
    assert points[0].startswith("run,trial,cycle,C,accuracy")
    assert len(points) == 1 + 2 * 3 * 3
    assert (tmp_path / "comparison.html").exists()
    assert (tmp_path / "fit.svg").exists()
    other = make_run(tmp_path / "elsewhere", trials=1)
    assert evidence.main([*arguments, "--report", "--beside", str(other)]) == 0
    assert len(started) == 3
    assert len((tmp_path / "points.csv").read_text().splitlines()) == 1 + 7 * 3
    with pytest.raises(SystemExit):
        evidence.main(["nonsense"])


def test_a_run_that_is_interrupted_ends_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "run", lambda line: 130)
    monkeypatch.setattr(evidence.os, "nice", lambda by: by)
    assert evidence.main([f"--folder={tmp_path}"]) == 130
