"""Runs the study: python launch.py [--config=FILE] [--config.FIELD=VALUE ...] [--workdir=DIR].

Exit status: 0 done, 1 the run failed, 2 the config, the data or the workdir is unusable,
130 or 143 stopped by SIGINT or SIGTERM with a checkpoint saved.
"""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
    "config",
    str(Path(__file__).parent / "configs" / "digits.py"),
    "The study to run, a file in configs/. A config file is Python, and is run: use only your own.",
)
WORKDIR = flags.DEFINE_string("workdir", None, "The run directory; runs/NAME of configs/NAME.py by default.")


def parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
        if rest[1:]:
            raise flags.Error(f"unexpected argument {rest[1]!r}; accepted: flags alone, see --help")
        CONFIG.value.to_dict()
    except Exception as error:  # whatever a config file, which is Python, may raise
        refuse(error)
    return rest


def main(_: list[str]) -> None:
    from aljax import experiment
    from aljax.errors import Interrupted, Refused, RunFailed

    package = Path(experiment.__file__).parent
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(
        lambda record: record.levelname != "INFO" or Path(record.pathname).parent == package
    )
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    try:
        experiment.run(CONFIG.value.to_dict(), WORKDIR.value or Path("runs") / name)
    except Refused as error:
        refuse(error)
    except RunFailed as error:
        print(f"launch.py: {error}", file=sys.stderr)
        sys.exit(1)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"launch.py: {error or 'stopped'}", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal_number", 2))


def refuse(error: Exception) -> None:
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"launch.py: {text}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
