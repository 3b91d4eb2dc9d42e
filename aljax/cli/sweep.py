"""Runs trials of several configs as jobs, and joins them: aljax sweep."""

import ast
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aljax.cli import run, signals
from aljax.cli.guard import Parser, expanded, guarded, quiet, say
from aljax.config import FIELDS, check, studies
from aljax.config.checks import unknown
from aljax.errors import InvalidInputError, RunError

if TYPE_CHECKING:
    from aljax.experiment.jobs import Status
    from aljax.experiment.sweep import Cell, Part

DESCRIPTION = """Runs N trials of a config, or of each combination of the values that --set gives, every trial
as a job of its own: on a Slurm cluster where there is one, else on this machine, as many at once as fit. Jobs
that are preempted save a checkpoint and are submitted again. Finished trials are joined in DIR/NAME, and the
same command goes on with what is left. Any field may follow for all jobs, as --config.FIELD=VALUE."""
STATUS = """Exit status: 0 all is finished and joined, 1 a job failed, 2 the config or the workdir is
unusable, 128 and the signal's number: stopped; jobs of this machine too, those of a cluster go on."""
STATES = ("finished", "runs", "waits", "failed")

CLUSTERS = ("slurm", "local", "debug")


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax sweep", description=DESCRIPTION, epilog=STATUS, allow_abbrev=False)
    parser.add_argument("--config", default=run.DEFAULT, help="the study, a file in configs/")
    parser.add_argument("--trials", type=int, help="of each config (default: as the config says)")
    parser.add_argument(
        "--set",
        metavar="FIELD=V1,V2",
        action="append",
        default=[],
        help="a field and its values; several make every combination",
    )
    parser.add_argument("--workdir", type=Path, required=True, help="the folder of the sweep")
    parser.add_argument("--print", action="store_true", help="writes a script for sbatch, and runs nothing")
    parser.add_argument(
        "--cluster",
        default="",
        help="slurm, local or debug, in this process (default: slurm where there is one, else local)",
    )
    parser.add_argument(
        "--jobs", type=int, default=0, help="at once on this machine (default: as many as fit)"
    )
    parser.add_argument(
        "--job",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an option of a job, as submitit calls it (timeout_min, gpus_per_node, slurm_partition); with "
        "--print, as sbatch does (time, gpus, partition)",
    )
    given, flags = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    if given.cluster not in ("", *CLUSTERS):
        parser.error(f"--cluster={given.cluster}: accepted: {', '.join(CLUSTERS)}")
    if given.jobs < 0:
        parser.error(f"--jobs={given.jobs}: accepted: 0 for as many as fit, or more")
    if strange := [flag for flag in flags if not flag.startswith("--config.")]:
        parser.error(f"{strange[0]}: unknown flag")
    workdir = expanded(given.workdir).absolute()
    found = _cells(given.config, given.trials, given.set, flags)
    from aljax.experiment import sweep

    options = [_split(option, "--job", "NAME=VALUE") for option in given.job]
    sweep.prepare(workdir, found)
    command = [sys.executable, "-m", "aljax", "run"]
    if given.print:
        parts = [part for cell in found for part in sweep.left(workdir, cell)]
        left = [part for part in parts if not sweep.finished(sweep.path_of(workdir, part))]
        if not left:
            return say(f"{workdir}: every trial is finished; without --print they are joined", 0)
        print(sweep.script(workdir, left, command, [f"--{name}={value}" for name, value in options]), end="")
        return 0
    of_jobs = {name: _value(value) for name, value in options}
    return _run(workdir, found, given.cluster, of_jobs, given.jobs, command)


def _cells(config: str, trials: int | None, varied: Sequence[str], flags: Sequence[str]) -> "list[Cell]":
    """Returns the configs that the flags describe; raises InvalidInputError where one is unusable."""
    path = studies.find(config)
    loaded = studies.load(path)
    given = run.parsed(flags)
    count = trials if trials is not None else given["config.trials"].value or loaded.get("trials", 1)
    if not FIELDS["trials"].accepts(count):
        raise InvalidInputError(f"--trials={count}: accepted: {FIELDS['trials'].accepted}")
    fields = []
    for one in varied:
        name, values = _split(one, "--set", "FIELD=V1,V2")
        name = name.removeprefix("config.")
        if name not in FIELDS:
            raise InvalidInputError(f"--set {one}: {unknown(name)}")
        fields.append((name, _values(name, values)))

    def checked(own: Sequence[str]) -> Mapping[str, Any]:
        made = run.overridden(studies.load(path), run.parsed(own)).to_dict()
        if made["oracle"] != "dataset":
            raise InvalidInputError(f"config.oracle={made['oracle']!r}: accepted: dataset, in a sweep")
        check(made)
        from aljax.strategies import registry

        registry.check({**made, "compare": registry.expanded(made["compare"])})
        return made

    from aljax.experiment import sweep

    shown = f"configs/{path.name}" if path.parent == studies.FOLDER else str(path.absolute())
    common = (f"--config={shown}", *(flag for flag in flags if not flag.startswith("--config.trials")))
    return sweep.cells(path.stem, fields, common, count, lambda own: checked([*own][1:]))


def _split(text: str, flag: str, accepted: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise InvalidInputError(f"{flag} {text}: accepted: {accepted}")
    return name.lstrip("-"), value


def _values(field: str, text: str) -> list[str]:
    """Splits the values of a field at the commas outside of brackets and quotes."""
    values, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth and not quote:
            values.append("")
        else:
            values[-1] += letter
    if len(set(values)) < len(values) or "" in values:
        raise InvalidInputError(f"--set {field}={text}: accepted: different values, with a comma between two")
    return values


def _value(text: str) -> Any:
    """Returns a number as a number."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if type(value) in (int, float, bool) else text


def _run(
    workdir: Path,
    found: "Sequence[Cell]",
    cluster: str,
    options: Mapping[str, Any],
    at_once: int,
    command: Sequence[str],
) -> int:
    from rich.console import Console
    from rich.live import Live

    from aljax.experiment import jobs, sweep

    left = [cell for cell in found if not sweep.joined(workdir, cell)]
    parts = [part for cell in left for part in sweep.left(workdir, cell)]
    console = Console()
    failed: dict[Part, Status] = {}
    if parts:
        start = jobs.executor(workdir / sweep.JOBS, cluster, options, left[0].config, at_once)
        queue = jobs.Queue(workdir, parts, start, command)
        poll = jobs.POLL if start.cluster in ("local", "debug") else jobs.POLL_CLUSTER
        shown: dict[Part, Status] = {}
        with (
            signals.handled(clean=queue.stop),
            Live(console=console, transient=True, auto_refresh=False) as live,
        ):

            def show(statuses: "Mapping[Part, Status]") -> None:
                if console.is_terminal:
                    live.update(_table(workdir, found, statuses), refresh=True)
                    return
                for part, status in statuses.items():
                    if shown.get(part) != status and status.state != "waits":
                        about = f" ({status.about})" if status.about else ""
                        print(f"{part.cell}, trial {part.trial}: {status.state}{about}", flush=True)
                    shown[part] = status

            statuses = jobs.run(queue, poll, show)
        failed = {part: status for part, status in statuses.items() if status.state == "failed"}
    problems = []
    for cell in left:
        if not any(part in failed for part in cell.parts):
            try:
                problems += _join(workdir, cell)
            except (InvalidInputError, RunError) as error:
                problems.append(str(error))
    console.print(_table(workdir, found, failed))
    print(f"run directories: {workdir}")
    for part, status in failed.items():
        problems.append(f"{part.cell}, trial {part.trial}: {status.about}")
    for problem in problems:
        say(problem, 1)
    return 1 if failed or not all(sweep.joined(workdir, cell) for cell in found) else 0


def _join(workdir: Path, cell: "Cell") -> list[str]:
    from aljax.experiment import sweep
    from aljax.records import join

    made = join.unnamed(workdir / cell.name)
    with quiet(), signals.handled(clean=lambda: shutil.rmtree(made, ignore_errors=True)):
        return sweep.join_parts(workdir, cell)


def _table(workdir: Path, found: "Sequence[Cell]", statuses: "Mapping[Part, Status]") -> Any:
    """Returns a table with a row of each config: its trials by state, and its cycles."""
    from rich.table import Column, Table

    from aljax.experiment import sweep

    table = Table(Column("config", overflow="fold"), "trials", *STATES, "cycles", "joined")
    for cell in found:
        held, left = sweep.held(workdir, cell), sweep.left(workdir, cell)
        joined = not left
        states = ["finished"] * (len(cell.parts) - len(left)) + [
            statuses[part].state
            if part in statuses
            else "finished"
            if sweep.finished(sweep.path_of(workdir, part))
            else "waits"
            for part in left
        ]
        done = sum(sweep.cycles_done(sweep.path_of(workdir, part)) for part in left)
        done += sweep.cycles_done(workdir / cell.name) if held else 0
        total = max(held, len(cell.parts)) * cell.config["cycles"]
        table.add_row(
            *(cell.name, str(len(cell.parts)), *(str(states.count(state)) for state in STATES)),
            *(f"{done} of {total}", "yes" if joined else "no"),
        )
    return table
