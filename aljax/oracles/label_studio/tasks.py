"""Questions as tasks of Label Studio.

Its "Uncertainty sampling" serves the tasks whose predictions are of the project's model version, those with
the lowest score first: the score here is the rank in aljax's order, as a share of the batch.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from aljax.oracles.base import Batch, Question

LABEL, DOUBT, UNSURE = "label", "doubt", "unsure"  # the names of the controls; the choice of the second
SAMPLING = "Uncertainty sampling"


def labeling_config(class_names: tuple[str, ...]) -> str:
    """Returns the labeling interface: the image, its classes on the keys 1 to 9, and "unsure" on u."""
    keys = [f' hotkey="{place}"' if place <= 9 else "" for place in range(1, len(class_names) + 1)]
    choices = [
        f"    <Choice value={quoteattr(name)}{key}/>" for name, key in zip(class_names, keys, strict=True)
    ]
    lines = (
        "<View>",
        '  <Image name="image" value="$image"/>',
        f'  <Choices name="{LABEL}" toName="image" choice="single-radio" showInline="true">',
        *choices,
        "  </Choices>",
        f'  <Choices name="{DOUBT}" toName="image" choice="single-radio" showInline="true">',
        f'    <Choice value="{UNSURE}" hotkey="u"/>',
        "  </Choices>",
        "</View>",
    )
    return "\n".join(lines) + "\n"


def version(cycle: int) -> str:
    """Returns the model version of a cycle's predictions."""
    return f"aljax cycle {cycle}"


def task(question: Question, batch: Batch, root: Path) -> dict[str, Any]:
    """Returns the task of a question.

    Args:
      question: of the batch.
      batch: gives the cycle.
      root: LOCAL_FILES_DOCUMENT_ROOT of Label Studio, below which the images lie.
    """
    data = {"image": url(question.path, root), "cycle": batch.cycle}
    shown = ("file", "sha256", "rank", "score", "reason")
    return {
        "data": {**data, **{name: getattr(question, name) for name in shown}},
        "predictions": [prediction(question, batch)],
    }


def prediction(question: Question, batch: Batch) -> dict[str, Any]:
    """Returns the model's guess with the score that orders; no guess of an image that judges the model."""
    choice = {
        "from_name": LABEL,
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [question.guess]},
        "score": question.probability,
    }
    return {
        "model_version": version(batch.cycle),
        "score": question.rank / len(batch.questions),
        "result": [choice] if question.guess and question.reason != "random" else [],
    }


def url(path: Path, root: Path) -> str:
    """Returns where Label Studio serves a file of its local storage."""
    return f"/data/local-files/?d={quote(path.resolve().relative_to(root.resolve()).as_posix())}"
