"""The study itself: all that knows what a Study is."""

from aljax.experiment.loop import run

__all__ = ["run"]
