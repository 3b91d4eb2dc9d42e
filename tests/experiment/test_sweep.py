"""Sweeps: which jobs there are, what becomes of them, and that nothing is done twice."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit  # noqa: F401  (it closes the handlers of logs that are there, and with them what pytest captures)

from aljax import experiment
from aljax.cli import sweep as command
from aljax.config import default
from aljax.errors import InvalidInputError, RunError
from aljax.experiment import jobs, sweep
from aljax.experiment.sweep import Part
from tests.harness import ROOT, changed, config_of, finished_run, results, tiny

PARTS = tuple(Part("digits", trial, (f"--config.first_trial={trial}",)) for trial in range(3))


def checked(flags):
    return {"first_trial": 5, "cycles": 2}


def test_every_combination_of_values_has_its_trials():
    fields = [("budget", ["10", "20"]), ("compare", ["('margin','core_set')"])]
    found = sweep.cells("digits", fields, ("--config=c.py",), 2, checked)
    assert [cell.name.partition("-")[0] for cell in found] == [
        "budget=10,compare=__margin_,_core_set__",
        "budget=20,compare=__margin_,_core_set__",
    ]
    assert [(part.cell, part.trial) for part in found[1].parts] == [(found[1].name, 5), (found[1].name, 6)]
    assert found[1].parts[1].flags == (
        *("--config=c.py", "--config.budget=20", "--config.compare=('margin','core_set')"),
        *("--config.first_trial=6", "--config.trials=1"),
    )
    assert sweep.cells("digits", [], (), 1, checked)[0].name == "digits"


def test_names_of_values_that_no_file_can_have_differ():
    a, b = sweep.cells("x", [("model.name", ["a/b.py:c", "a_b.py:c"])], (), 1, checked)
    assert a.name != b.name
    assert "/" not in a.name + b.name


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--set", "budgett=1,2"], "--set budgett=1,2: unknown field; did you mean config.budget?"),
        (["--set", "budget=1,two"], "config.budget=two: accepted: a whole number"),
        (["--set", "budget=5,5"], "--set budget=5,5: accepted: different values"),
        (
            ["--set", "budget=5,6", "--config.budget=7"],
            "--set budget: --config.budget=7 is given too; accepted: one",
        ),
        (["--set", "budget"], "--set budget: accepted: FIELD=V1,V2"),
        (["--set", "trials=1,2"], "--set trials: is the sweep's own"),
        (["--set", "uncertainty=entropie"], "config.uncertainty='entropie': did you mean 'entropy'?"),
        (["--set", "budget=10,100000"], "config.budget=100000: accepted: less than config.subset_size"),
        (["--trials", "0"], "--trials=0: accepted: a whole number from 1"),
        (["--config", "configs/digit.py"], "--config=configs/digit.py: no such file; did you mean"),
        (["--config.oracle=page", "--config.trials=1"], "config.oracle='page': accepted: dataset"),
        (["--workers=3"], "--workers=3: unknown flag"),
        (["--jobs=-1"], "--jobs=-1: accepted: 0"),
        (["--job", "time"], "--job time: accepted: NAME=VALUE"),
        (["--cluster=hal", "--trials=1"], "--cluster=hal: "),
        (["--job", "slurm_tea=1", "--trials=1"], "--job: Unknown argument 'tea'"),
    ],
)
def test_bad_input_has_one_line(tmp_path, capsys, flags, said):
    try:
        status = command.main([*flags, f"--workdir={tmp_path / 'sweep'}"])
    except SystemExit as end:
        status = end.code
    assert status == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"aljax: {said}")
    assert errors.count("\n") == 1
    assert not [*tmp_path.glob("sweep/parts/*")]


@pytest.mark.parametrize("name", ["config.json", "letter.txt"])
def test_a_folder_that_holds_something_else_is_refused(tmp_path, capsys, name):
    (tmp_path / name).write_text("{}")
    assert command.main([f"--workdir={tmp_path}"]) == 2
    assert f"holds {name} and no sweep" in capsys.readouterr().err


def test_without_submitit_one_line_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert command.main([f"--workdir={tmp_path / 'sweep'}", "--trials=1"]) == 2
    assert "submitit is not installed; accepted: with pip install 'aljax[sweep]'" in capsys.readouterr().err


def test_a_value_may_hold_commas():
    assert command._values("compare", "('a','b'),(1, 2),x") == ["('a','b')", "(1, 2)", "x"]


class Job:
    """A job that ends when it is told to."""

    def __init__(self, number):
        self.job_id, self.outcome = str(number), None

    def done(self):
        return self.outcome is not None

    def result(self):
        return self.outcome


class Starter:
    """Submits jobs that do nothing."""

    def __init__(self, folder=Path()):
        self.jobs, self.folder = [], folder

    def submit(self, work):
        self.jobs.append(Job(len(self.jobs)))
        self.jobs[-1].command, self.jobs[-1].given = work.command, work.gpus
        result = self.folder / f"{len(self.jobs) - 1}.pkl"
        self.jobs[-1].paths = SimpleNamespace(result_pickle=result, stderr="printed.err")
        return self.jobs[-1]


def states(statuses):
    return [status.state for status in statuses.values()]


def test_as_many_jobs_as_fit_and_what_was_stopped_again(tmp_path, monkeypatch):
    done = set()
    monkeypatch.setattr(sweep, "finished", lambda path: path.name in done)
    starter = Starter()
    queue = jobs.Queue(tmp_path, PARTS, jobs.Executor(starter, "local", 2, ()), ["aljax"])
    assert states(queue.step()) == ["runs", "runs", "waits"]
    path = tmp_path / "parts" / "digits" / "trial-00"
    assert starter.jobs[0].command == ["aljax", "--config.first_trial=0", f"--workdir={path}"]
    starter.jobs[0].outcome = (143, "aljax: stopped")  # preempted
    starter.jobs[1].outcome = (2, "aljax: config.budget=3: accepted: 4")
    assert states(queue.step()) == ["runs", "failed", "runs"]
    assert queue.statuses()[PARTS[1]].about == "config.budget=3: accepted: 4"
    assert starter.jobs[2].command == starter.jobs[0].command
    done.update({"trial-00", "trial-02"})
    starter.jobs[2].outcome = starter.jobs[3].outcome = (0, "")
    assert states(queue.step()) == ["finished", "failed", "finished"]
    again = jobs.Queue(tmp_path, PARTS, jobs.Executor(starter, "local", 2, ()), ["aljax"])
    assert states(again.step()) == ["finished", "runs", "finished"]
    assert len(starter.jobs) == 5


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Slurm's queue, as lines of a file."""
    listed, program = tmp_path / "queue", tmp_path / "bin" / "squeue"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec cat "{listed}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return listed


def test_a_cluster_without_accounting_is_asked_for_its_queue(tmp_path, monkeypatch, squeue):
    done = set()
    monkeypatch.setattr(sweep, "finished", lambda path: path.name in done)
    starter = Starter(tmp_path)
    squeue.write_text("")
    queue = jobs.Queue(tmp_path, PARTS, jobs.Executor(starter, "slurm", 9, ()), ["aljax"])
    assert states(queue.step()) == ["waits", "waits", "waits"]
    squeue.write_text("0 RUNNING\n1 COMPLETING\n2 PENDING\n")
    assert states(queue.step()) == ["runs", "runs", "waits"]
    squeue.unlink()  # what it cannot say now it is asked again
    assert states(queue.step()) == ["runs", "runs", "waits"]
    starter.jobs[0].outcome = (143, "aljax: stopped")
    starter.jobs[0].paths.result_pickle.touch()
    squeue.write_text("0 PENDING\n1 RUNNING\n2 RUNNING\n")  # job 0 was preempted, and Slurm has requeued it
    assert states(queue.step()) == ["waits", "runs", "runs"]
    assert len(starter.jobs) == 3
    squeue.write_text("2 RUNNING\n")  # job 1 was killed, and has no result
    queue.step()
    assert queue.statuses()[PARTS[0]] == jobs.Status("waits", "job 3, after job 0 was stopped")
    squeue.write_text("2 RUNNING\n3 RUNNING\n")
    for _ in range(jobs.PATIENCE):
        statuses = queue.step()
    assert states(statuses) == ["runs", "failed", "runs"]
    assert statuses[PARTS[1]].about == "job 1 has left the queue without a result; see printed.err"


def test_without_an_answer_of_squeue_nothing_is_submitted(tmp_path, squeue):
    with pytest.raises(RunError, match="squeue does not answer; the same command can be given again"):
        jobs.Queue(tmp_path, PARTS, jobs.Executor(Starter(), "slurm", 9, ()), ["aljax"])


@pytest.fixture
def cell(tmp_path):
    """A config whose run directory has its trials 3 and 4, and a part more."""
    finished_run(tmp_path / "digits")
    stored = json.loads((tmp_path / "digits" / "config.json").read_text())
    config = {name: value for name, value in stored.items() if name not in ("versions", "device")}
    return sweep.Cell("digits", config, tuple(Part("digits", trial, ()) for trial in (3, 4, 5)))


def test_what_is_joined_stays_where_more_or_fewer_trials_are_asked_for(tmp_path, monkeypatch, cell):
    assert sweep.left(tmp_path, cell) == cell.parts[2:]
    assert sweep.joined(tmp_path, cell._replace(parts=cell.parts[:1]))
    before = results(tmp_path / "digits")
    monkeypatch.setattr(sweep.join, "join", lambda out, parts, finish: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep.join_parts(tmp_path, cell)
    assert results(tmp_path / "digits") == before  # it is back
    made = []

    def joined(out, parts, finish):
        made.extend((path.name, path.exists()) for path in parts)
        out.mkdir()
        return []

    monkeypatch.setattr(sweep.join, "join", joined)
    sweep.join_parts(tmp_path, cell)
    assert made == [(".partial-before-digits", True), ("trial-05", False)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits"]


def test_a_run_of_before_that_cannot_be_brought_back_is_kept(tmp_path, monkeypatch, cell):
    before = tmp_path / ".partial-before-digits"
    (tmp_path / "digits").rename(before)
    (tmp_path / sweep.JOBS).mkdir()

    def refused(*_):
        raise OSError("no room")

    monkeypatch.setattr(Path, "rename", refused)
    sweep.prepare(tmp_path, [cell])
    assert (before / "cycles.jsonl").exists()


def test_a_run_of_before_comes_back_after_a_kill_in_the_middle_of_joining(tmp_path, cell):
    (tmp_path / "digits").rename(tmp_path / ".partial-before-digits")
    (tmp_path / sweep.JOBS).mkdir()
    sweep.prepare(tmp_path, [cell])
    assert sweep.held(tmp_path, cell) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [({"uncertainty": "entropy"}, "uncertainty"), ({}, "first_trial is 3, and 0 here; accepted: the same")],
)
def test_runs_of_another_config_are_not_taken_for_this_one(tmp_path, cell, change, said):
    (tmp_path / sweep.JOBS).mkdir()
    parts = cell.parts if change else (Part("digits", 0, ()),)
    with pytest.raises(InvalidInputError, match=said):
        sweep.prepare(tmp_path, [cell._replace(config={**cell.config, **change}, parts=parts)])


def test_a_printed_script_finds_the_folder_of_its_output(tmp_path, capsys):
    assert command.main(["--print", "--trials=1", f"--workdir={tmp_path / 'sweep'}"]) == 0
    output = next(line for line in capsys.readouterr().out.splitlines() if "--output=" in line)
    (path,) = shlex.split(output.partition("=")[2])
    assert Path(path).parent.is_dir()
    (tmp_path / "file").touch()
    assert command.main(["--print", "--trials=1", f"--workdir={tmp_path / 'file' / 'sweep'}"]) == 2
    assert "accepted: a folder that can be written" in capsys.readouterr().err


def test_jobs_fit_by_cores_and_by_gpus(monkeypatch):
    monkeypatch.setattr(jobs.mesh, "cores", lambda: 8)
    config = default().to_dict()
    assert jobs.at_once(changed(config, devices=2)) == 4
    assert jobs.at_once(changed(config, devices=16)) == 1
    assert jobs.at_once(changed(config, devices=0), gpus=("0", "1", "2")) == 3
    assert jobs.at_once(changed(config, devices=2), gpus=("0", "1", "2", "3")) == 2


def test_a_job_has_as_many_gpus_as_it_takes_devices(tmp_path):
    starter, gpus = Starter(), ("4", "5", "6", "7")
    queue = jobs.Queue(tmp_path, PARTS, jobs.Executor(starter, "local", 2, gpus, 2), ["aljax"])
    queue.step()
    assert [job.given for job in starter.jobs] == [("4", "5"), ("6", "7")]
    starter.jobs[0].outcome = (143, "")
    queue.step()
    assert starter.jobs[-1].given == ("4", "5")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("", ()), ("-1", ()), ("2, 0", ("2", "0")), ("GPU-8932f937,MIG-b4a3", ("GPU-8932f937", "MIG-b4a3"))],
)
def test_gpus_are_called_as_the_user_calls_them(visible, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert jobs._gpus() == expected


def test_a_job_of_this_machine_sees_its_gpus(tmp_path, monkeypatch):
    """By submitit itself, which hides all GPUs from a job that asks it for none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,MIG-7,5")
    start = jobs.executor(tmp_path, "local", {}, default().to_dict() | {"devices": 1}, 0)
    assert (start.at_once, start.gpus, start.gpus_of_a_job) == (3, ("3", "MIG-7", "5"), 1)
    program = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], file=sys.stderr)"
    queue = jobs.Queue(tmp_path, PARTS[:2], start, [sys.executable, "-c", program])
    (tmp_path / sweep.JOBS).mkdir()
    statuses = jobs.run(queue, 0.05, lambda _: None)
    assert [status.about for status in statuses.values()] == ["3", "MIG-7"]


JOB = """
import signal, sys
from aljax.experiment.jobs import Work
program = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); "
program += "print('aljax: begun', file=sys.stderr, flush=True); time.sleep(60)"
work = Work([sys.executable, "-c", program])
def preempted(*_):
    print(work.checkpoint().function.command == work.command, flush=True)
signal.signal(signal.SIGUSR2, preempted)
print(work())
"""


def test_a_job_stops_its_run_and_goes_on_with_the_same():
    job = subprocess.Popen(
        [sys.executable, "-c", JOB], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert job.stderr.readline() == "aljax: begun\n"
    job.send_signal(signal.SIGUSR2)  # as submitit has a cluster do before it takes the machine away
    assert job.communicate(timeout=60)[0].splitlines() == ["True", "(143, 'aljax: begun')"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=["its time is over", "cancelled"])
def test_the_script_runs_each_part_and_is_requeued_where_slurm_does_not(tmp_path, number):
    program = tmp_path / "run"
    steps = ('echo "$@" > "$OUT"', 'trap "exit 143" TERM', 'touch "$OUT.begun"', "sleep 20 & wait")
    program.write_text("\n".join(("#!/bin/bash", *steps, "")))
    requeue = tmp_path / "scontrol"
    requeue.write_text('#!/bin/bash\necho "$@" > "$OUT.requeued"\n')
    for path in (program, requeue):
        path.chmod(0o755)
    text = sweep.script(tmp_path, PARTS, [str(program)], ["--partition=gpu"])
    assert "\n#SBATCH --array=0-2\n" in text
    assert "\n#SBATCH --partition=gpu\n" in text
    out = tmp_path / "out"
    env = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "7", "OUT": str(out)}
    env["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    job = subprocess.Popen(["bash", "-c", text], env=env)
    while not (tmp_path / "out.begun").exists():
        time.sleep(0.05)
    job.send_signal(number)
    assert job.wait(30) == 143
    assert out.read_text() == f"--config.first_trial=1 --workdir={sweep.path_of(tmp_path, PARTS[1])}\n"
    requeued = tmp_path / "out.requeued"
    assert (requeued.read_text() if requeued.exists() else "") == "requeue 7_1\n" * (number == signal.SIGUSR1)


def test_a_sweep_that_was_killed_goes_on_and_writes_the_bytes_of_one_run(tmp_path):
    fields = tiny(tmp_path, trials=2, cycles=2)
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    folder = tmp_path / "sweep"
    line = [
        sys.executable,
        "-m",
        "aljax",
        "sweep",
        "--cluster=local",
        "--jobs=2",
        f"--workdir={folder}",
        *flags,
    ]
    options = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True, "cwd": tmp_path}
    killed = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    parts = [folder / "parts" / "digits" / f"trial-{trial:02d}" for trial in (0, 1)]
    while not all(path.exists() for path in parts):
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert all(map(sweep.at_work, parts))
    again = subprocess.run(line, capture_output=True, **options)
    assert again.returncode == 0, again.stderr
    assert len([*folder.glob("jobs/*_submitted.pkl")]) == 2
    config = config_of("digits", **{name.replace(".", "__"): value for name, value in fields.items()})
    experiment.run(config, tmp_path / "one")
    assert results(folder / "digits") == results(tmp_path / "one")
    assert command.main(line[4:]) == 0
    assert len([*folder.glob("jobs/*_submitted.pkl")]) == 2
