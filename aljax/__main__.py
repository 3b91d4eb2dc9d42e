"""Runs a command: python -m aljax COMMAND."""

import sys

from aljax.cli import main

sys.exit(main())
