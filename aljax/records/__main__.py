"""Checks a run directory: python -m aljax.records verify RUN_DIR."""

import argparse
import sys

from aljax.cli import verify

parser = argparse.ArgumentParser(
    prog="python -m aljax.records", description=verify.DESCRIPTION, epilog=verify.STATUS
)
parser.add_argument("command", choices=["verify"])
parser.add_argument("run_dir", help="the run directory")
sys.exit(verify.main([parser.parse_args().run_dir]))
