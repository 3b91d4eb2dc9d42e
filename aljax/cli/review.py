"""Lists the answers that a cross-validated model doubts: aljax review."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli import run
from aljax.cli.guard import Parser, expanded, guarded

DESCRIPTION = "Lists the answers that models trained on the other answers contradict, the surest first."
STATUS = """The list is asked/review.csv in the run directory: correct a label there, and the command of the
run takes it in. With --page they are asked again on a page. Exit status: 0 done, 1 a training failed, 2 it
is no run that people label."""


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax review", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    parser.add_argument("--page", action="store_true", help="asks about them again on a page of this machine")
    given = parser.parse_args(arguments)
    return run.attempted(lambda: _review(expanded(given.run_dir), given.page))


def _review(workdir: Path, on_page: bool) -> None:
    from aljax.experiment import review
    from aljax.oracles import files

    doubted = review.doubted(workdir)
    path = files.write_review(workdir, doubted)
    for one in doubted:
        print(f"{one.file}: {one.answer}; the others' answers say {one.guess} ({one.probability:.0%})")
    print(f"{path}: {len(doubted)} answers to look at again")
    if on_page and doubted:
        changed = review.ask_again(workdir, doubted)
        print(f"{changed} of {len(doubted)} labels were changed; the command of the run takes them in")
