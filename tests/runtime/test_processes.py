"""Several processes of one run, on the loopback address."""

import os
import signal
import socket
import threading
import time

import numpy as np
import pytest

from aljax.errors import InvalidInputError
from aljax.runtime import processes, team
from aljax.runtime.team import Place
from tests.forked import Forked
from tests.harness import results, tiny


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def flags_of(port, number, count=2):
    return f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={number}"


def start(flags, fields, workdir, devices=1, cwd=None):
    settings = [f"--config.{name}={value}" for name, value in fields.items()]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    return Forked([f"--workdir={workdir}", *flags, *settings], environment, cwd)


def pair(fields, workdir, others=None, cwds=(None, None)):
    """Starts two processes of one device; the second has `others` in place of some fields."""
    port = free_port()
    return [
        start(
            flags_of(port, number),
            {**fields, **(others if number and others else {})},
            workdir,
            cwd=cwds[number],
        )
        for number in (0, 1)
    ]


def ended(run):
    """Waits for processes; returns of each the exit status and what it said of its end."""
    said = [process.communicate(timeout=300)[1] for process in run]
    lines = [[line for line in text.splitlines() if not line.startswith(("I", "W"))] for text in said]
    return [(process.returncode, own) for process, own in zip(run, lines, strict=True)]


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def embeddings(folder, seed=0):
    """Writes embeddings into a folder; returns the fields of a study of them, found from within it."""
    folder.mkdir(exist_ok=True)
    features = np.random.default_rng(seed).normal(size=(80, 4)).astype(np.float32)
    np.savez(folder / "e.npz", features=features, labels=np.arange(80) % 3)
    fields = tiny(folder, devices=2) | {"dataset.source": "embeddings", "dataset.data_dir": "e.npz"}
    return fields | {"model.name": "linear", "dataset.images": 0, "dataset.classes": 0}


def test_two_processes_write_the_bytes_of_one_though_the_first_was_killed(tmp_path):
    fields = tiny(tmp_path, devices=2, ensemble=2, cycles=2, uncertainty="entropy")
    one = start((), fields, tmp_path / "one", devices=2)
    together = tmp_path / "together"
    run = pair(fields, together)
    lines = together / "cycles.jsonl"
    wait_for(lambda: (lines.exists() and lines.read_bytes()) or any(p.poll() is not None for p in run))
    run[0].kill()
    killed = time.monotonic()
    _, other = ended(run)
    assert time.monotonic() - killed < 60
    assert other == (1, ["aljax: process 0 of 2 has ended; nothing is lost, and the same command goes on"])
    assert lines.read_bytes().count(b"\n") == 1
    assert ended([*pair(fields, together), one]) == [(0, [])] * 3
    assert results(together) == results(tmp_path / "one")
    assert (together / "config.json").read_bytes() == (tmp_path / "one" / "config.json").read_bytes()


def test_the_first_ends_with_another(tmp_path):
    run = pair(tiny(tmp_path, devices=2), tmp_path / "run")
    wait_for((tmp_path / "run" / "config.json").exists)
    run[1].kill()
    first, _ = ended(run)
    assert first == (1, ["aljax: process 1 of 2 has ended; nothing is lost, and the same command goes on"])


def test_a_signal_to_one_stops_both_with_a_checkpoint(tmp_path):
    fields = embeddings(tmp_path) | {"train.epochs": 100_000}
    run = pair(fields, tmp_path / "run", cwds=(tmp_path, tmp_path))
    events = tmp_path / "run" / "tensorboard" / "trial-00"
    wait_for(lambda: events.exists() or any(p.poll() is not None for p in run))
    run[1].send_signal(signal.SIGTERM)
    for status, said in ended(run):
        assert status == 143
        assert len(said) == 1
        assert "the same command goes on" in said[0]
    assert [*tmp_path.glob("run/checkpoints/trial-00/cycle-01-*")]


def test_processes_that_disagree_about_the_config_end(tmp_path):
    fields = tiny(tmp_path, devices=2)
    for status, said in ended(pair(fields, tmp_path / "run", {"seed": 3})):
        assert status == 2
        assert said == [
            "aljax: config.seed: is 3 in process 1, and 0 in process 0; accepted: the same in all processes"
        ]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("there", [True, False])
def test_processes_that_disagree_about_the_data_end(tmp_path, there):
    folders = [tmp_path / "first", tmp_path / "second"]
    fields = embeddings(folders[0])
    embeddings(folders[1], seed=1)
    if not there:
        (folders[1] / "e.npz").unlink()
    for status, said in ended(pair(fields, tmp_path / "run", cwds=folders)):
        assert status == 2
        assert len(said) == 1
        assert ("data_sha256: is '" if there else "process 1: config.dataset.data_dir='e.npz'") in said[0]
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(InvalidInputError, match=r"--coordinator=127.0.0.1:\d+: .*accepted: a free port"),
    ):
        team.met(Place("127.0.0.1", server.getsockname()[1], 0, 2))


def test_a_coordinator_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(team, "WAIT", 0.3)
    with pytest.raises(InvalidInputError, match=r"does not answer within .*accepted: --coordinator="):
        team.met(Place("127.0.0.1", free_port(), 1, 2))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(InvalidInputError, match="timed out"),
    ):
        team.met(Place("127.0.0.1", server.getsockname()[1], 1, 2))


def test_a_process_that_does_not_come(monkeypatch):
    monkeypatch.setattr(team, "WAIT", 0.3)
    with pytest.raises(InvalidInputError, match="--num_processes=3: process 1 did not come within"):
        team.met(Place("127.0.0.1", free_port(), 0, 3))


@pytest.mark.parametrize(
    ("number", "count", "said"),
    [
        (1, 3, "--num_processes: is 3 in process 1, and 2 in process 0"),
        (0, 2, "--process_id=0: is given to two processes"),
    ],
)
def test_processes_that_are_not_of_one_run(number, count, said):
    port = free_port()
    raised = []

    def meet(place):
        try:
            team.met(place)
        except InvalidInputError as error:
            raised.append(str(error))

    threads = [threading.Thread(target=meet, args=(Place("127.0.0.1", port, 0, 2),))]
    threads[0].start()
    with socket.socket() as stranger:  # which is no process of aljax, and is not waited for
        wait_for(lambda: stranger.connect_ex(("127.0.0.1", port)) == 0)
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        other = Place("127.0.0.1", port, number, count)
        peer = team._first(other, time.monotonic() + 10)
        kind, content = team._answer(peer, other, time.monotonic() + 10)
        threads[0].join()
        peer.socket.close()
    assert kind == team.END
    assert len(raised) == 1
    assert said in raised[0]
    assert said in content.decode()


def test_one_process_is_as_if_there_were_no_others():
    with processes.joined():
        processes.agree({"seed": 1})
        assert processes.count() == 1
        assert processes.is_first()
        assert processes.shared(lambda: 3) == processes.each(lambda: 3) == 3
        assert processes.highest(2, 5) == [2, 5]
