"""Checks a run directory: python -m aljax.records verify RUN_DIR."""

import sys

from absl import logging

from aljax.records import verify

logging.set_verbosity(logging.ERROR)  # what is damaged is said in one line
sys.exit(verify.main(sys.argv[1:]))
