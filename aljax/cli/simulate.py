"""Replays a run that people labeled as a study on their labels: aljax simulate."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli import run
from aljax.cli.guard import Parser, expanded, guarded

DESCRIPTION = "Replays the study on the labels that people gave: which strategy would have paid?"
STATUS = "The same command goes on. Exit status: that of aljax run."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax simulate", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    parser.add_argument("--trials", type=int, default=3, help="of each strategy (default: 3)")
    given = parser.parse_args(arguments)
    return run.attempted(lambda: _simulate(expanded(given.run_dir), given.trials))


def _simulate(workdir: Path, trials: int) -> None:
    from aljax.experiment.simulate import simulate
    from aljax.report.text import plus_minus

    areas, page = simulate(workdir, trials)
    print("mean accuracy over the labels, in %, ± standard deviation over trials:")
    for name, area in sorted(areas.items(), key=lambda one: -(one[1]["mean"] or 0)):
        print(f"  {name}: {plus_minus(area, '.1f', 100)}")
    print(f"page: {page}")
