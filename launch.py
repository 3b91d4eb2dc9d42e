"""Runs the study: python launch.py [--config=FILE] [--config.FIELD=VALUE ...] [--workdir=DIR]; see --help."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback out of an import; the command itself handles it
from aljax.cli.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
