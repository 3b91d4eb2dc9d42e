"""Runs a study: aljax run, or python launch.py.

Every field of a config is a flag, made from its row in the table of fields.
"""

import ast
import gc
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict

import aljax
from aljax import registry
from aljax.cli.guard import expanded, guarded, say
from aljax.config import FIELDS, check, flatten, studies
from aljax.config.checks import closest, unknown
from aljax.errors import Interrupted, InvalidInputError, RunError, first_line

DEFAULT = "configs/digits.py"
HELP = ("-h", "-help", "--help", "--helpfull", "--helpshort")
USAGE = """usage: python launch.py [--config=FILE] [--config.FIELD=VALUE ...] [--workdir=DIR]

  --config   the study, a file in configs/; it is Python, and is run: trust it (default: {default})
  --workdir  the run directory; the same command on it goes on (default: runs/NAME for configs/NAME.py)
  --version  the version of aljax

On many hosts, the same command on each, of which process 0 writes the run directory:
  --coordinator=HOST:PORT --num_processes=N --process_id=I   HOST of process 0, any free PORT, I from 0
  --distributed   in place of these, where Slurm, MPI, Kubernetes or TPUs tell them

Exit status: 0 done, 1 the run failed, 2 the config, the data or the workdir is unusable,
130 or 143 stopped by SIGINT or SIGTERM with a checkpoint saved.

Fields, with their values in {path}:
"""

COLLECT_AFTER = 10_000  # new objects, in place of 700: tracing makes a million, and few of them are garbage

Place = tuple[str, int, int, int]  # of this process among several, see `runtime.processes.Place`

# What parsing a value may raise, deep nesting and numbers without end included.
UNPARSED = (
    flags.Error,
    SyntaxError,
    ValueError,
    KeyError,
    TypeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class _Value(flags.ArgumentParser):
    """Parses a field's value on the command line as a value of the field's type."""

    def __init__(self, kind: type):
        self.kind = kind

    def parse(self, argument: Any) -> Any:
        if self.kind is str or type(argument) is not str:
            return argument
        if self.kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[argument.lower()]
        if self.kind is tuple:
            value = ast.literal_eval(argument)
            return tuple(value) if isinstance(value, (tuple, list)) else (value,)
        return self.kind(argument)


def defined() -> flags.FlagValues:
    """Returns the flags: --config, --workdir, and one for each field of the table."""
    given = flags.FlagValues()
    flags.DEFINE_string("config", DEFAULT, "The study, a file in configs/.", flag_values=given)
    flags.DEFINE_string("workdir", None, "The run directory.", flag_values=given)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.", flag_values=given)
    flags.DEFINE_integer("num_processes", None, "How many processes run it.", flag_values=given)
    flags.DEFINE_integer("process_id", None, "The number of this one, from 0.", flag_values=given)
    flags.DEFINE_bool("distributed", False, "Finds these three out.", flag_values=given)
    for name, field in FIELDS.items():
        if type(field.default) is bool:
            flags.DEFINE_bool(f"config.{name}", None, field.help, flag_values=given)
        else:
            parser = _Value(type(field.default))
            flags.DEFINE(parser, f"config.{name}", None, field.help, flag_values=given)
    return given


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"--version", "-version"} & set(words):
        print(f"aljax {aljax.__version__}")
        return 0
    asked = [word for word in words if word not in HELP]
    given = parsed(asked)
    path = studies.find(str(given["config"].value))
    config = overridden(studies.load(path), given)
    if len(asked) < len(words):
        print(usage(path, config))
        return 0
    check(config.to_dict())
    if given["workdir"].value == "":
        raise InvalidInputError("--workdir='': accepted: a folder, or no --workdir for the default")
    workdir = expanded(Path(given["workdir"].value or Path("runs") / path.stem))
    place, detect = place_of(given), bool(given["distributed"].value)
    try:
        app.run(lambda _: sys.exit(run(config, workdir, place, detect)), ["launch.py"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def run(config: ConfigDict, workdir: Path, place: Place | None = None, detect: bool = False) -> int:
    """Runs a study in its run directory; returns the exit status.

    Args:
      config: the study.
      workdir: the run directory.
      place: of this process, if several run it.
      detect: finds the place out.
    """
    from aljax.runtime import processes

    def work() -> None:
        with processes.joined(place and processes.Place(*place), detect):
            if not processes.is_first():
                logging.set_verbosity(logging.ERROR)  # the first process tells what happens
            from aljax import experiment

            experiment.run(config.to_dict(), workdir)

    try:
        status = attempted(work)
    except Exception:
        if processes.count() == 1:
            raise
        traceback.print_exc()
        status = 1
    processes.leave(status)
    return status


def place_of(given: flags.FlagValues) -> Place | None:
    """Returns the place of this process among several; None if it runs alone, or is to find it out.

    Raises:
      InvalidInputError: if the flags do not name one.
    """
    names = ("coordinator", "num_processes", "process_id")
    found: dict[str, Any] = {name: given[name].value for name in names}
    there = [name for name in names if found[name] is not None]
    if given["distributed"].value:
        if there:
            raise InvalidInputError(f"--distributed: finds --{there[0]} out; accepted: one of the two")
        return None
    if not there:
        return None
    if absent := [name for name in names if name not in there]:
        raise InvalidInputError(f"--{absent[0]}: is missing; accepted: together with --{there[0]}")
    coordinator, count, number = (found[name] for name in names)
    if count < 1:
        raise InvalidInputError(f"--num_processes={count}: accepted: a whole number of at least 1")
    if not 0 <= number < count:
        why = f"accepted: 0 to {count - 1}, with --num_processes={count}"
        raise InvalidInputError(f"--process_id={number}: {why}")
    host, _, port = coordinator.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise InvalidInputError(
            f"--coordinator={coordinator}: accepted: HOST:PORT of process 0, a port from 1 to 65535"
        )
    return (host, int(port), number, count) if count > 1 else None


def attempted(work: Callable[[], None]) -> int:
    """Runs what trains models, with its log, and reports an error in one line; returns the exit status."""
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    package = Path(aljax.__file__).parent
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(lambda record: Path(record.pathname).is_relative_to(package))
    from aljax.experiment import size
    from aljax.oracles import Waiting
    from aljax.runtime import compilation

    compilation.set_flags()
    compilation.keep()
    try:
        work()
    except Waiting as waiting:
        print(waiting)
    except InvalidInputError as error:
        return say(str(error), 2)
    except RunError as error:
        return say(str(error), 1)
    except Interrupted as error:
        return say(str(error), 128 + error.signal_number)
    except MemoryError as error:
        return say(f"out of memory ({error}); {size.ACCEPTED}", 1)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):  # of a device, as JAX reports it
            return say(f"out of memory ({first_line(error)}); {size.ACCEPTED}", 1)
        if not registry.raised_in_own_file(error):
            raise
        return say(f"your own code raised {registry.complaint(error)}", 1)
    return 0


def parsed(arguments: Sequence[str]) -> flags.FlagValues:
    """Parses the flags.

    Raises:
      InvalidInputError: with one line that names the flag, its value, and what is accepted.
    """
    given = defined()
    try:
        rest = given(["launch.py", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        raise InvalidInputError(unrecognized(error.flagname, error.flagvalue)) from error
    except UNPARSED as error:
        raise InvalidInputError(unusable(error, arguments)) from error
    if rest:
        meant = f"did you mean --config={rest[0]}?; " if rest[0].endswith(".py") else ""
        raise InvalidInputError(f"{rest[0]}: not a flag; {meant}accepted: flags alone, see --help")
    return given


def unrecognized(name: str, argument: str) -> str:
    """Returns what to say of a flag that does not exist, given as `argument`."""
    value = argument.partition("=")[2]
    if name.startswith("config."):
        return f"{name}={value}: {unknown(name.removeprefix('config.'))}"
    meant = closest(name).replace("config.", "--config.").replace("?;", f"={value}?;" if value else "?;")
    others = ("coordinator", "num_processes", "process_id", "distributed")
    meant = meant or registry.meant(f"--{name}", ("--config", "--workdir", *(f"--{one}" for one in others)))
    return f"{argument}: unknown flag; {meant}accepted: --config, --workdir and --config.FIELD, see --help"


def unusable(error: Exception, arguments: Sequence[str]) -> str:
    """Returns what to say of a flag's value that is not of its type."""
    for argument in arguments:
        name, _, value = argument.lstrip("-").partition("=")
        field = FIELDS.get(name.removeprefix("config."))
        if field and name.startswith("config.") and not _parses(field.default, value):
            return f"{name}={value}: accepted: {field.accepted}"
    return f"{error}; accepted: see --help"


def _parses(default: Any, value: str) -> bool:
    try:
        _Value(type(default)).parse(value)
    except UNPARSED:
        return False
    return True


def overridden(config: ConfigDict, given: flags.FlagValues) -> ConfigDict:
    """Returns the config with the fields that were given as flags."""
    for name in FIELDS:
        group, _, last = name.rpartition(".")
        if (value := given[f"config.{name}"].value) is not None:
            try:
                (config[group] if group else config)[last] = value
            except (KeyError, TypeError) as error:  # a config file that replaced a group or a type
                reason = f"{' '.join(str(error).split())}; accepted: {FIELDS[name].accepted}"
                raise InvalidInputError(f"config.{name}={value!r}: {reason}") from error
    return config


def usage(path: Path, config: ConfigDict) -> str:
    """Returns the help: the flags, and every field with its value in a config."""
    values = flatten(config.to_dict())
    rows = [
        f"  --config.{name}={values.get(name)!r}\n      {field.help}; accepted: {field.accepted}"
        for name, field in FIELDS.items()
    ]
    shown = f"configs/{path.name}" if path.parent == studies.FOLDER else str(path)
    return USAGE.format(path=shown, default=DEFAULT) + "\n".join(rows)
