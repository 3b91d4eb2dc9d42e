"""Runs the study: python launch.py [--config=FILE] [--config.FIELD=VALUE ...] [--workdir=DIR].

Exit status: 0 done, 1 the run failed, 2 the config, the data or the workdir is unusable,
130 or 143 stopped by SIGINT or SIGTERM with a checkpoint saved.
"""

import re
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

DEFAULT = Path(__file__).parent / "configs" / "digits.py"
CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The study, a file in configs/ (digits.py by default). It is Python, and is run: trust it.",
)
WORKDIR = flags.DEFINE_string("workdir", None, "The run directory; by default runs/NAME for configs/NAME.py.")


def parse(argv: list[str]) -> list[str]:
    path = config_path(argv)
    sys.argv = argv = config_first(argv)  # ml_collections looks at both
    if path is None:
        path = DEFAULT
        argv = [argv[0], f"--config={path}", *argv[1:]]
    try:
        rest = flags.FLAGS(argv)
        if not path.is_file():
            raise FileNotFoundError("no such file")
        CONFIG.value.to_dict()
    except Exception as error:  # whatever a config file, which is Python, may raise
        refuse(explained(error, argv, path))
    if rest[1:]:
        refuse(f"{rest[1]}: not a flag; accepted: flags alone, see --help")
    return argv


def config_path(argv: list[str]) -> Path | None:
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if flag := re.fullmatch(r"--?config(?:=(.*))?", argument):
            return Path(following if flag[1] is None else flag[1])
    return None


def config_first(argv: list[str]) -> list[str]:
    """The command line with --config before what it is overridden with, as ml_collections wants it."""
    for place, argument in enumerate(argv):
        if re.fullmatch(r"--?config(=.*)?", argument):
            end = place + (1 if "=" in argument else 2)
            return [argv[0], *argv[place:end], *argv[1:place], *argv[end:]]
    return argv


def explained(error: Exception, argv: list[str], path: Path) -> str:
    """What was wrong on the command line, as ml_collections does not say it."""
    from aljax.config.checks import FIELDS, unknown

    for argument in argv:
        override = re.fullmatch(r"--?config\.([^=]+)=?(.*)", argument, re.DOTALL)
        if override and override[1] not in FIELDS:
            return f"config.{override[1]}={override[2]}: {unknown(override[1])}"
        if override and f"--config.{override[1]}=" in str(error):
            return f"config.{override[1]}={override[2]}: accepted: {FIELDS[override[1]].accepted}"
    if isinstance(error, flags.Error):
        return f"{error}; accepted: see --help"
    reason = error if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
    return f"--config={path}: {reason}; accepted: a Python file with get_config()"


def main(argv: list[str]) -> None:
    import aljax
    from aljax.errors import Interrupted, InvalidInputError, RunError
    from aljax.experiment import loop as experiment
    from aljax.runtime import compilation

    package = Path(aljax.__file__).parent
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(lambda record: Path(record.pathname).is_relative_to(package))
    compilation.deterministic()
    compilation.keep()
    name = (config_path(argv) or DEFAULT).stem
    try:
        experiment.run(CONFIG.value.to_dict(), WORKDIR.value or Path("runs") / name)
    except InvalidInputError as error:
        refuse(str(error))
    except RunError as error:
        say(str(error))
        sys.exit(1)
    except Interrupted as error:
        say(str(error))
        sys.exit(128 + error.signal_number)


def refuse(text: str) -> None:
    say(text)
    sys.exit(2)


def say(text: str) -> None:
    print("launch.py:", " ".join(text.split()), file=sys.stderr)


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=parse)
    except KeyboardInterrupt:  # before or after the run, which takes note of it by itself
        say("stopped")
        sys.exit(130)
