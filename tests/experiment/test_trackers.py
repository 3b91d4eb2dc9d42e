"""The numbers of every cycle in a tracker: offline, again after an interruption, and what goes wrong."""

import json
import signal
import struct

import pytest

from aljax.errors import Interrupted, InvalidInputError, RunError
from aljax.experiment import loop, trackers
from aljax.experiment.monitor import Monitor
from aljax.records import files, verify
from tests.harness import config_of, results, tiny


def config(folder, **fields):
    settings = {"trials": 2, "cycles": 2, **fields}
    return config_of("digits", **{name.replace(".", "__"): x for name, x in tiny(folder, **settings).items()})


def lines_of(workdir):
    return files.read_lines(workdir / "cycles.jsonl")[0]


@pytest.fixture
def told(monkeypatch):
    """What a tracker was told: (trial, cycle, values), and the trials that were closed."""
    found, closed = [], []

    def noting(trial):
        return trackers.Tracker(
            lambda cycle, values: found.append((trial.number, cycle, values)),
            lambda: closed.append(trial.number),
        )

    monkeypatch.setitem(trackers.TRACKERS, "wandb", noting)
    monkeypatch.setattr(trackers, "check", lambda name: None)
    return found, closed


def test_every_cycle_is_told_once_and_the_run_is_the_same(told, tmp_path, monkeypatch):
    loop.run(config(tmp_path), tmp_path / "untracked")
    original = Monitor.cycle_done

    def asking_to_stop(monitor, line):
        original(monitor, line)
        monitor.stop_requested = signal.SIGTERM

    monkeypatch.setattr(Monitor, "cycle_done", asking_to_stop)
    with pytest.raises(Interrupted, match="stopped in trial 0, cycle 2"):
        loop.run(config(tmp_path, tracker="wandb"), tmp_path / "run")
    monkeypatch.setattr(Monitor, "cycle_done", original)
    loop.run(config(tmp_path, tracker="wandb"), tmp_path / "run")
    found, closed = told
    lines = lines_of(tmp_path / "run")
    assert [place[:2] for place in found] == [(line["trial"], line["cycle"]) for line in lines]
    for (_, _, values), line in zip(found, lines, strict=True):
        assert {"accuracy", "C", "overlap", "labeled", "test_loss"} <= values.keys()
        assert all(values[name] == line[name] for name in values)
    assert closed == [0, 0, 1]  # the first, when the run was stopped
    assert results(tmp_path / "run") == results(tmp_path / "untracked")


def test_a_tracker_that_fails_ends_the_run_in_one_line(told, tmp_path, monkeypatch):
    def refusing(trial):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", refusing)
    with pytest.raises(RunError, match=r"^config\.tracker='wandb': no route to host$"):
        loop.run(config(tmp_path, tracker="wandb"), tmp_path / "run")
    assert len(lines_of(tmp_path / "run")) == 1  # and the same command goes on


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_named_before_anything_is_done(name, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(
        InvalidInputError, match=rf"config\.tracker='{name}': .*pip install 'aljax\[{name}\]'"
    ):
        loop.run(config(tmp_path, tracker=name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def logged(content, block=2**15):
    """Yields the records of a file of W&B: LevelDB's log format, behind 7 bytes of its own."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        if block - place % block < 7:  # no room for a header: the rest of a block is empty
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_wandb_keeps_the_numbers_in_the_run_directory(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.delenv("WANDB_MODE", raising=False)
    loop.run(config(tmp_path, tracker="wandb"), tmp_path / "run")
    seen = {}
    for file in (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"):
        for record in map(Record.FromString, logged(file.read_bytes())):
            if record.WhichOneof("record_type") == "run":
                name = record.run.display_name
            elif record.WhichOneof("record_type") == "history":
                items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                seen[name, int(items["_step"])] = json.loads(items["accuracy"])
    expected = {
        (f"trial-{line['trial']:02d}", line["cycle"]): line["accuracy"] for line in lines_of(tmp_path / "run")
    }
    assert seen == pytest.approx(expected)
    assert list(verify.problems(tmp_path / "run")) == []


def test_mlflow_keeps_the_numbers_in_the_run_directory_and_finds_a_trial_again(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    loop.run(config(tmp_path, tracker="mlflow"), tmp_path / "run")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "run" / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("aljax").experiment_id
    trackers.begin(config(tmp_path, tracker="mlflow"), tmp_path / "run", 1).close()  # as a run that goes on
    found = client.search_runs([experiment])
    assert sorted(run.info.run_name for run in found) == ["run/trial-00", "run/trial-01"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {run.data.params["budget"] for run in found} == {"4"}
    for run in found:
        history = client.get_metric_history(run.info.run_id, "accuracy")
        own = [line for line in lines_of(tmp_path / "run") if run.info.run_name.endswith(f"{line['trial']}")]
        assert {one.step: one.value for one in history} == {line["cycle"]: line["accuracy"] for line in own}
    assert list(verify.problems(tmp_path / "run")) == []
