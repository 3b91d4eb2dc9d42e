"""Lists the answers that a cross-validated model doubts: aljax review."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli import run
from aljax.cli.guard import Parser, expanded, guarded

DESCRIPTION = "Lists the answers that models trained on the other answers contradict, the surest first."
STATUS = """The list is asked/review.csv in the run directory: correct a label there, and the command of the
run takes it in. Exit status: 0 done, 1 a training failed, 2 it is no run that people label."""


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax review", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    workdir = expanded(parser.parse_args(arguments).run_dir)
    return run.attempted(lambda: _review(workdir))


def _review(workdir: Path) -> None:
    from aljax.experiment import review
    from aljax.oracles import files

    doubted = review.doubted(workdir)
    path = files.write_review(workdir, doubted)
    for question, label in doubted:
        print(
            f"{question.file}: {label}; the others' answers say {question.guess} ({question.probability:.0%})"
        )
    print(f"{path}: {len(doubted)} answers to look at again")
