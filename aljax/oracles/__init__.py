"""Oracles by name: who answers the questions of a cycle."""

from aljax import registry
from aljax.oracles.base import Batch, Oracle, Progress, Question, Session, Setting, Waiting

__all__ = ["ORACLES", "Batch", "Oracle", "Progress", "Question", "Session", "Setting", "Waiting", "find"]

PARAMETERS = ("setting",)
ORACLES = {  # imported when they are used
    "page": "aljax.oracles.page:page",
    "files": "aljax.oracles.files:oracle",
    "label_studio": "aljax.oracles.label_studio:label_studio",
}


def find(name: str, field: str = "config.oracle") -> Oracle:
    """Returns the oracle of a name, or a user's own of "path/to/file.py:function".

    Raises:
      InvalidInputError: if there is no such oracle.
    """
    found = registry.find(name, ORACLES, field, PARAMETERS, "dataset, ")
    return registry.load(found, PARAMETERS) if isinstance(found, str) else found
