"""Runs the study: python launch.py [--config=FILE] [--config.FIELD=VALUE ...] [--workdir=DIR]; see --help."""

import sys

from aljax.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
