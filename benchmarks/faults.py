"""Injects faults into tiny studies and checks that nothing is lost: python -m benchmarks.faults.

Stops runs of every scenario with SIGKILL, and with signals that they handle, at random moments, and starts
them again until they are done (--kills), also while someone answers on the labeling page (--answers); lets
one run out of disk at many file sizes (--full-disks); flips bits of a finished and of an unfinished run
(--flips); and gives the commands bad input (--inputs). Each result is compared, byte for byte, with that of a
run that was left alone. Writes a table and, with --out, JSON; status 1 if anything was lost, unnoticed, or
ended in a traceback.

A start is a fork of this process, which has imported all that a run imports and started no device: without
that, most kills would meet Python's imports. Figures are left out.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from aljax.cli.guard import quiet
from aljax.records import files, verify
from benchmarks import answers, bad_inputs
from tests.harness import launch, results, tiny

__all__ = ["ROOT", "launch", "results"]

ROOT = Path(__file__).parents[1]
FILE_LIMITS = (50, 400, 1_200, 1_900, 2_500, 5_000, 20_000, 60_000)
SCENARIOS: dict[str, dict[str, object]] = {
    "pool": {},
    "stream": {"scenario": "stream", "uncertainty": "entropy"},
    "synthesis": {"scenario": "synthesis"},
    "ensemble": {"ensemble": 2, "uncertainty": "bald"},
    "warm start": {"warm_start": True},
    "folds": {"validation_folds": 2},
    "compare": {"compare": "('margin', 'core_set')"},
}
SIGNALS = (*[signal.SIGKILL] * 7, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # one of these, at random
FAST = "--xla_backend_optimization_level=0"  # compilation


class Run:
    """A command in a process of its own."""

    def __init__(self, main: Callable[[], int], log: Path, file_limit: int | None = None):
        self.log = log
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # JAX warns of a fork; no device was started
            self.number = os.fork()
        if self.number:
            return
        status = 70
        try:
            sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            for number in (signal.SIGINT, signal.SIGHUP):  # a shell or nohup may have them ignored, for good
                signal.signal(number, signal.SIG_DFL)
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
            status = main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def wait(self, seconds: float = 600) -> int | None:
        """Returns the status once it has ended, the negative signal if one ended it; None if it goes on."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            number, status = os.waitpid(self.number, os.WNOHANG)
            if number:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        return None

    def send(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.number, number)

    def traceback(self) -> bool:
        """Tells whether it printed a traceback."""
        return b"Traceback" in self.log.read_bytes()


class Studies:
    """Tiny studies in a scratch folder."""

    def __init__(self, scratch: Path):
        self.scratch = scratch
        self._count = 0

    def start(self, workdir: Path, fields: Mapping[str, object], file_limit: int | None = None) -> Run:
        """Starts a run, or goes on with it."""
        from aljax.cli import run

        values = tiny(self.scratch, checkpoint_minutes=0.0, **fields)
        arguments = [f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in values.items())]
        return self.of(lambda: run.main(arguments), file_limit)

    def of(self, main: Callable[[], int], file_limit: int | None = None) -> Run:
        """Starts a command."""
        self._count += 1
        return Run(main, self.scratch / f"log-{self._count}", file_limit)

    def problems(self, workdir: Path) -> list[str]:
        """Returns what verify says of a run directory, but for a line that was not written to its end."""
        from aljax import cli

        found = self.of(lambda: cli.main(["verify", str(workdir)]))
        lines = found.log.read_text().splitlines() if found.wait() in (0, 1) else [found.log.read_text()]
        return [line for line in lines if "nothing wrong" not in line and "half-written" not in line]


def cycles_of(workdir: Path) -> int:
    """Counts the complete cycles."""
    path = workdir / "cycles.jsonl"
    return len(files.read_lines(path)[0]) if path.exists() else 0


def phase_of(workdir: Path) -> str:
    """Returns what a run was at when it was killed."""
    if not (workdir / "cycles.jsonl").exists():
        return "starting"
    if [*workdir.rglob("*.orbax-checkpoint-tmp*"), *workdir.rglob(f"{files.PARTIAL}*")]:
        return "writing"
    selections = len(list(workdir.glob("selections/*/*.npz")))
    return "training" if selections > cycles_of(workdir) else "loading, scoring, reporting"


def kill(studies: Studies, count: int, rng: np.random.Generator, found: Counter[str]) -> list[str]:
    """Kills runs of every scenario until there were `count` kills; returns what came of them."""
    wrong: list[str] = []
    for number, (scenario, fields) in enumerate(SCENARIOS.items(), start=1):
        alone = studies.scratch / "alone"
        for workdir in (alone, studies.scratch / "again"):  # the first compiles
            shutil.rmtree(workdir, ignore_errors=True)
            begin = time.monotonic()
            process = studies.start(workdir, fields)
            if process.wait() != 0:
                raise SystemExit(f"{scenario}: {process.log.read_text()}")
            seconds = time.monotonic() - begin
        expected = results(alone)
        found["runs compared"] += 1
        if results(studies.scratch / "again") != expected:
            wrong.append(f"{scenario}: two runs differ")
        while sum(found[f"killed while {phase}"] for phase in PHASES) < count * number / len(SCENARIOS):
            workdir = studies.scratch / "killed"
            shutil.rmtree(workdir, ignore_errors=True)
            wrong += [
                f"{scenario}: {sentence}"
                for sentence in _killed(studies, workdir, fields, seconds, rng, found)
            ]
            found["runs compared"] += 1
            print(f"{scenario}: {dict(found)}", *wrong, sep="\n", file=sys.stderr, flush=True)
            if results(workdir) != expected:
                wrong.append(f"{scenario}: the run that was killed differs")
    return wrong


PHASES = ("starting", "writing", "training", "loading, scoring, reporting")


def _killed(
    studies: Studies,
    workdir: Path,
    fields: Mapping[str, object],
    seconds: float,
    rng: np.random.Generator,
    found: Counter[str],
) -> list[str]:
    """Kills a run again and again until it is done; returns what went wrong."""
    wrong: list[str] = []
    lines = 0
    while True:
        process = studies.start(workdir, fields)
        status = process.wait(rng.uniform(0.02, 1.1 * seconds))
        if status is None:
            number = SIGNALS[rng.integers(len(SIGNALS))]
            phase = phase_of(workdir)
            process.send(number)
            status = process.wait()
            if status != 0:
                found[f"killed while {phase}"] += 1
                found[f"by {signal.Signals(number).name}"] += 1
                if status not in (-number, 128 + number):
                    wrong.append(f"status {status} after {number}: {process.log.read_text()[-300:]}")
        elif status != 0:
            wrong.append(f"ended by itself with {status}: {process.log.read_text()[-300:]}")
        if process.traceback():
            wrong.append(f"a traceback: {process.log.read_text()[-1000:]}")
        now = cycles_of(workdir)
        if now < lines:
            wrong.append(f"{lines - now} lines lost")
        lines = now
        if (workdir / "manifest.json").exists():
            wrong += studies.problems(workdir)
        if status == 0 or len(wrong) > 5:
            return wrong


def fill(studies: Studies, found: Counter[str]) -> list[str]:
    """Lets runs meet a full disk at many file sizes, and go on with room."""
    wrong: list[str] = []
    alone = studies.scratch / "roomy"
    if studies.start(alone, {}).wait() != 0:
        raise SystemExit("a run that was left alone failed")
    for limit in FILE_LIMITS:
        workdir = studies.scratch / f"full-{limit}"
        process = studies.start(workdir, {}, limit)
        status, said = process.wait(), process.log.read_text()
        own = [line for line in said.splitlines() if line.startswith("aljax: ")]
        found["full disks"] += 1
        if status not in (0, 1, 2) or (status and len(own) != 1) or "Traceback" in said:
            wrong.append(f"{limit} bytes: status {status}: {said[-300:]}")
        process = studies.start(workdir, {})
        if process.wait() != 0 or results(workdir) != results(alone):
            wrong.append(f"{limit} bytes: with room it does not go on to the same end")
        wrong += studies.problems(workdir)
    return wrong


def flip(studies: Studies, count: int, rng: np.random.Generator, found: Counter[str]) -> list[str]:
    """Flips bits over all bytes of a finished and an unfinished run; returns those that verify misses.

    Checks in this process, so nothing may be started after it.
    """
    whole, begun = studies.scratch / "whole", studies.scratch / "begun"
    if studies.start(whole, SCENARIOS["compare"]).wait() != 0:
        raise SystemExit("a run that was left alone failed")
    process = studies.start(begun, {**SCENARIOS["compare"], "trials": 50})
    while cycles_of(begun) < 2:
        time.sleep(0.01)
    process.send(signal.SIGTERM)
    if process.wait() != 128 + signal.SIGTERM:
        raise SystemExit(f"a run that was asked to stop: {process.log.read_text()}")
    wrong = []
    for run, share in ((whole, count - count // 2), (begun, count // 2)):
        if before := list(verify.problems(run)):
            raise SystemExit(f"{run}: {before}")
        with quiet():
            wrong += [f"{run.name}: {place}" for place in flipped(run, share, rng)]
        found[f"bits flipped, {run.name}"] += share
    return wrong


def flipped(workdir: Path, count: int, rng: np.random.Generator) -> list[str]:
    """Flips a bit at `count` places, half of them over all bytes and half over all files, one at a time."""
    paths = [path for path in sorted(workdir.rglob("*")) if path.is_file() and path.name != ".lock"]
    paths = [path for path in paths if path.stat().st_size]
    sizes = np.array([path.stat().st_size for path in paths])
    by_byte = rng.choice(len(paths), count // 2, p=sizes / sizes.sum())
    unnoticed = []
    for number in (*by_byte, *rng.integers(len(paths), size=count - count // 2)):
        path, place, bit = paths[number], int(rng.integers(sizes[number])), int(rng.integers(8))
        content = path.read_bytes()
        altered = bytearray(content)
        altered[place] ^= 1 << bit
        path.write_bytes(altered)
        if next(verify.problems(workdir), None) is None:
            unnoticed.append(f"{path.relative_to(workdir)}, byte {place}, bit {bit}")
            print(workdir.name, unnoticed[-1], file=sys.stderr, flush=True)
        path.write_bytes(content)
    return unnoticed


def prepare(scratch: Path) -> None:
    """Imports what a run imports, so that a fork begins at once, and draws no figures."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST}".lstrip()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(scratch / "cache")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    import orbax.checkpoint  # noqa: F401
    import sklearn.datasets
    import sklearn.decomposition
    import sklearn.metrics  # noqa: F401
    import tensorboardX.event_file_writer  # noqa: F401

    from aljax import experiment  # noqa: F401
    from aljax.report import figures

    figures.draw = lambda shown: []


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="at least so many")
    parser.add_argument("--answers", type=int, default=10, help="kills, at least, while someone answers")
    parser.add_argument("--flips", type=int, default=50, help="bits to flip, half in an unfinished run")
    parser.add_argument("--inputs", type=int, default=50, help="bad inputs")
    parser.add_argument("--full-disks", type=int, default=1, help="0 leaves them out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    found: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        prepare(scratch)
        studies = Studies(scratch)
        if options.kills:
            wrong["kills"] = kill(studies, options.kills, rng, found)
        if options.answers:
            wrong["answers"] = answers.kill(studies, options.answers, rng, found)
        if options.full_disks:
            wrong["full disks"] = fill(studies, found)
        if options.inputs:
            wrong["inputs"] = bad_inputs.give(studies, options.inputs, rng, found)
        if options.flips:
            wrong["flips"] = flip(studies, options.flips, rng, found)
    table = Table("fault", "times")
    for name, count in sorted(found.items()):
        table.add_row(name, str(count))
    Console().print(table)
    figures = {
        "counts": dict(sorted(found.items())),
        "wrong": wrong,
        "seconds": round(time.monotonic() - begin),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(figures, indent=2))
    if options.out:
        files.write(options.out, (json.dumps(figures, indent=2) + "\n").encode())
    sys.exit(1 if any(wrong.values()) else 0)


if __name__ == "__main__":
    main()
