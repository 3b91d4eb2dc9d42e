"""Labels a folder of images with a person: aljax label, the same as a run of configs/label.py."""

import sys
from collections.abc import Sequence
from pathlib import Path

from aljax.cli import run
from aljax.cli.guard import Parser, expanded, guarded
from aljax.errors import InvalidInputError

DESCRIPTION = "Asks a person for the classes of images, trains on the answers, and asks again."
STATUS = """The same command goes on. Every field of configs/label.py may follow, as --config.FIELD=VALUE.
Exit status: 0 done, or answers are waited for; else as that of aljax run."""


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax label", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("dir", type=Path, help="a folder of images, at any depth")
    parser.add_argument("--classes", help="names, divided by commas; needed where no image has a label")
    parser.add_argument("--oracle", help="who answers: page (default), files or label_studio")
    parser.add_argument("--budget", type=int, help="questions in each cycle")
    parser.add_argument("--workdir", help="the run directory (default: runs/label)")
    given, others = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    if not expanded(given.dir).is_dir():  # before anything is imported
        raise InvalidInputError(f"{given.dir}: accepted: a folder of images that exists")
    if given.budget is not None and given.budget < 1:
        parser.error(f"--budget={given.budget}: accepted: a whole number of at least 1")
    names = None if given.classes is None else tuple(name.strip() for name in given.classes.split(","))
    _check(given.oracle, names)
    fields = {
        "dataset.data_dir": str(expanded(given.dir).absolute()),
        "oracle": given.oracle,
        "budget": given.budget,
    }
    if names is not None:
        fields["dataset.class_names"] = str(names)
    flags = [f"--config.{name}={value}" for name, value in fields.items() if value is not None]
    if given.workdir is not None:
        flags.append(f"--workdir={given.workdir}")
    return run.main(["--config=configs/label.py", *flags, *others])


def _check(oracle: str | None, classes: tuple[str, ...] | None) -> None:
    """Raises InvalidInputError if there is no such oracle, or classes cannot be named so, without JAX."""
    from aljax import oracles
    from aljax.data.sources import unlabeled

    if oracle not in (None, "dataset"):
        oracles.find(oracle, "--oracle")
    if classes is not None and len(classes) < 2:
        raise InvalidInputError(f"--classes={','.join(classes)}: accepted: at least two names, as in cat,dog")
    unlabeled.check_names(classes or (), "--classes")
