"""Imports what the processes of `tests.forked` have when they begin; starts no device."""

import importlib
import warnings

import aljax.cli.run  # noqa: F401
from aljax.experiment import loop, people  # noqa: F401

for name in loop.LATE:
    importlib.import_module(name)
warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX's, which knows no process without devices
