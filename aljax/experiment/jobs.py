"""Jobs of a sweep, through submitit: on a cluster, or on this machine with as many at once as fit."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aljax.errors import InvalidInputError, RunError, first_line
from aljax.experiment import sweep
from aljax.experiment.sweep import Part
from aljax.records import files
from aljax.runtime import mesh

STOPPED = (129, 130, 143, -1, -2, -15)  # exit statuses of a run that was told to stop; below 0: at its start
POLL = 0.5  # seconds between two looks at jobs of this machine
POLL_CLUSTER = 15.0
YEAR = 60 * 24 * 365  # minutes: a job of this machine takes as long as it takes
HOUR = 60  # minutes, after which a cluster's job is saved and requeued
REQUEUES = 10_000  # at most, of a job
IDS = "submitted.json"
VISIBLE = "CUDA_VISIBLE_DEVICES"
SQUEUE = ("squeue", "--me", "--noheader", "--format=%i %T")
RUNS = ("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED", "SUSPENDED")  # as squeue calls it
PATIENCE = 3  # looks at a job that has left Slurm's queue before its result, on a slow disk, is given up


class Work:
    """Runs a study in a process of its own, which is stopped, and saved, when the job is.

    The process sees the GPUs that are named, or, where none are, those that the job has.
    """

    def __init__(self, command: Sequence[str], gpus: Sequence[str] = ()):
        self.command = list(command)
        self.gpus = tuple(gpus)
        self._process: subprocess.Popen[str] | None = None

    def __call__(self) -> tuple[int, str]:
        """Runs to the end; returns the exit status, and the last line on standard error."""
        last = ""
        with contextlib.suppress(ValueError):  # not the main thread's
            signal.signal(signal.SIGTERM, lambda *_: self._stop())
        own = {VISIBLE: ",".join(self.gpus)} if self.gpus else {}
        with subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **own},
        ) as process:
            self._process = process
            assert process.stderr is not None
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        return process.returncode, last

    def checkpoint(self) -> Any:
        """Stops the run and returns what goes on with it; submitit calls it before it requeues a job."""
        import submitit

        self._stop()
        if self._process is not None:
            self._process.wait()
        return submitit.helpers.DelayedSubmission(Work(self.command, self.gpus))

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def __getstate__(self) -> dict[str, Any]:
        return {"command": self.command, "gpus": self.gpus, "_process": None}


class Status(NamedTuple):
    """Describes how far a part of a sweep is."""

    state: str  # "waits", "runs", "finished" or "failed"
    about: str  # of a failed one, why; of one that runs, its job


class Executor(NamedTuple):
    """Starts jobs."""

    submitit: Any  # the executor
    cluster: str
    at_once: int  # jobs, at most
    gpus: tuple[str, ...]  # of this machine
    gpus_of_a_job: int = 1


def executor(
    folder: Path, cluster: str, options: Mapping[str, Any], config: Mapping[str, Any], jobs: int
) -> Executor:
    """Returns what starts jobs.

    Args:
      folder: for what submitit writes, and what jobs print.
      cluster: as submitit calls it: slurm, local, debug; "" for what there is.
      options: of a job, as submitit's AutoExecutor.update_parameters takes them.
      config: of a job, for the cores that it takes of this machine.
      jobs: at once; 0 for as many as fit.

    Raises:
      InvalidInputError: if submitit is not installed, or does not know the cluster or an option.
    """
    try:
        import submitit
    except ImportError as error:
        raise InvalidInputError(
            "aljax sweep: submitit is not installed; accepted: with pip install 'aljax[sweep]', or --print"
        ) from error
    try:
        made = submitit.AutoExecutor(folder, cluster=cluster or None, slurm_max_num_timeout=REQUEUES)
    except (ValueError, RuntimeError) as error:
        problem = f"--cluster={cluster}: {first_line(error)}; accepted: slurm or local"
        raise InvalidInputError(problem) from error
    local = made.cluster in ("local", "debug")
    defaults: dict[str, Any] = {"name": "aljax", "timeout_min": YEAR if local else HOUR}
    try:
        made.update_parameters(**(defaults | dict(options)))
    except (NameError, AssertionError, TypeError, ValueError) as error:
        problem = f"--job: {first_line(error)}; accepted: options of submitit's jobs"
        raise InvalidInputError(problem) from error
    gpus = _gpus() if made.cluster == "local" else ()
    most = jobs or (at_once(config, gpus) if local else sys.maxsize)
    return Executor(made, made.cluster, most, gpus, min(len(gpus), max(1, config["devices"])))


def at_once(config: Mapping[str, Any], gpus: Sequence[str] = ()) -> int:
    """Counts the jobs that fit on this machine: by its GPUs, or else by its cores."""
    from aljax.experiment.study import batch_pixels

    if gpus:
        return max(1, len(gpus) // max(1, config["devices"]))
    return max(1, mesh.cores() // (config["devices"] or mesh.on_cpu(batch_pixels(config))))


def _gpus() -> tuple[str, ...]:
    """Returns the GPUs that this process may use: their numbers, or names where the user gives names."""
    visible = os.environ.get(VISIBLE)
    if visible is None:
        count = len([name for name in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)])
        return tuple(map(str, range(count)))
    names = [name.strip() for name in visible.split(",")]
    return tuple(name for name in names if name.isdigit() or name.startswith(("GPU-", "MIG-")))


class Queue:
    """The jobs of a sweep: which are submitted, and what came of them."""

    def __init__(self, workdir: Path, parts: Sequence[Part], start: Executor, command: Sequence[str]):
        self._workdir = workdir
        self._start = start
        self._command = command
        self._parts = parts
        self._jobs: dict[Part, Any] = {}
        self._failed: dict[Part, str] = {}
        self._stopped: dict[Part, str] = {}  # the job that was stopped last
        self._queued: dict[str, str] = {}  # the jobs in Slurm's queue, and their states
        self._missed: dict[Part, int] = {}  # looks at a job that has left it without a result
        self._ids = _ids(workdir)
        self._known = True  # whether what Slurm said last is of the last look
        self._look()
        if not self._known:  # what waits or runs there would be submitted again
            raise RunError(f"slurm: {SQUEUE[0]} does not answer; the same command can be given again")
        for part in parts:
            self._adopt(part)

    def statuses(self) -> dict[Part, Status]:
        """Returns how far each part is."""
        return {part: self._status(part) for part in self._parts}

    def step(self) -> dict[Part, Status]:
        """Submits what fits, takes what has ended; returns how far each part is."""
        self._look()
        for part, job in list(self._jobs.items()):
            if self._ended(part, job):
                del self._jobs[part]
                self._take(part, job)
        statuses = self.statuses()
        submitted = [
            part for part, status in statuses.items() if part in self._jobs or status.state == "runs"
        ]
        left = [part for part in self._parts if statuses[part].state == "waits" and part not in submitted]
        for part in left[: max(0, self._start.at_once - len(submitted))]:
            self._submit(part)
        return self.statuses()

    def stop(self) -> None:
        """Stops the jobs of this machine; those of a cluster go on."""
        if self._start.cluster == "local":
            for job in self._jobs.values():
                if process := getattr(job, "_process", None):
                    with contextlib.suppress(OSError):
                        process.terminate()

    def _status(self, part: Part) -> Status:
        path = sweep.path_of(self._workdir, part)
        if part in self._jobs:
            number = self._jobs[part].job_id
            before = f", after job {self._stopped[part]} was stopped" if part in self._stopped else ""
            state = "runs" if self._queued.get(number, RUNS[0]) in RUNS else "waits"
            return Status(state, f"job {number}{before}")
        if part in self._failed:
            return Status("failed", self._failed[part])
        if sweep.finished(path):
            return Status("finished", "")
        if sweep.at_work(path):  # of a sweep that was killed
            return Status("runs", "a job from before")
        return Status("waits", "")

    def _submit(self, part: Part) -> None:
        options = self._start
        taken = {gpu for job in self._jobs.values() for gpu in job.gpus} if options.gpus else set()
        own = tuple(sorted(options.gpus, key=lambda gpu: gpu in taken)[: options.gpus_of_a_job])
        path = sweep.path_of(self._workdir, part)
        try:
            job = options.submitit.submit(Work([*self._command, *part.flags, f"--workdir={path}"], own))
        except Exception as error:  # of the cluster's commands, of many kinds
            raise RunError(
                f"{options.cluster}: a job could not be submitted ({first_line(error)})"
            ) from error
        job.gpus = own
        self._jobs[part] = job
        self._queued[job.job_id] = "PENDING" if options.cluster == "slurm" else RUNS[0]
        self._ids[f"{part.cell}/{part.trial}"] = [options.cluster, job.job_id]
        files.write(self._workdir / sweep.JOBS / IDS, json.dumps(self._ids, indent=1).encode())

    def _look(self) -> None:
        """Asks Slurm for the jobs in its queue; submitit asks its accounting, which not all clusters have."""
        if self._start.cluster != "slurm":
            return
        self._known = False
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):  # it is asked again
            lines = subprocess.run(SQUEUE, capture_output=True, text=True, check=True, timeout=60).stdout
            self._queued = dict(line.split() for line in lines.splitlines())
            self._known = True

    def _ended(self, part: Part, job: Any) -> bool:
        """Tells whether a job has ended; one that has a result may have been requeued by Slurm, and go on."""
        if self._start.cluster != "slurm":
            return self._start.cluster == "debug" or job.done()
        if not self._known or job.job_id in self._queued:
            self._missed[part] = 0
            return False
        if job.paths.result_pickle.exists():
            return True
        self._missed[part] = self._missed.get(part, 0) + 1
        return self._missed[part] > PATIENCE

    def _take(self, part: Part, job: Any) -> None:
        """Notes what came of a job that has ended."""
        if self._missed.pop(part, 0) > PATIENCE:
            status, last = 1, f"job {job.job_id} has left the queue without a result; see {job.paths.stderr}"
        else:
            try:
                status, last = job.result()
            except Exception as error:  # submitit's own, or what it says of a job that was killed
                status, last = 1, f"the job has ended without a result ({first_line(error)})"
        if sweep.finished(sweep.path_of(self._workdir, part)):
            return
        if status in STOPPED:
            self._stopped[part] = job.job_id
            return
        self._failed[part] = last.removeprefix("aljax: ") or f"exit status {status}"

    def _adopt(self, part: Part) -> None:
        """Takes up the job of a cluster that an earlier command submitted, if it has not ended."""
        cluster, number = self._ids.get(f"{part.cell}/{part.trial}", ("", ""))
        if cluster != self._start.cluster or cluster in ("local", "debug"):
            return
        if number in self._queued:
            job_class = self._start.submitit._executor.job_class
            self._jobs[part] = job_class(self._workdir / sweep.JOBS, number)


def _ids(workdir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((workdir / sweep.JOBS / IDS).read_bytes()))
    except (OSError, ValueError):
        return {}


def run(queue: Queue, poll: float, show: Callable[[Mapping[Part, Status]], None]) -> dict[Part, Status]:
    """Works a queue off; returns what came of each part."""
    while True:
        statuses = queue.step()
        show(statuses)
        if not any(status.state in ("waits", "runs") for status in statuses.values()):
            return statuses
        time.sleep(poll)
