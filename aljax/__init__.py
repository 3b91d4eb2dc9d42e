"""aljax: deep active learning experiments in JAX.

Submodules are imported when they are first used: `import aljax; aljax.kcenter.k_center_greedy(...)`; so is
`aljax.load(RUN)`, the model of a run that people labeled.
"""

import importlib
import pkgutil
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("aljax.experiment.saved").load
    if name in __dir__() and not name.startswith("_"):
        return importlib.import_module(f"aljax.{name}")
    raise AttributeError(f"module 'aljax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*(module.name for module in pkgutil.iter_modules(__path__)), "__version__", "load"])
