"""Oracles by name: who answers the questions of a cycle."""

from aljax.oracles.base import Batch, Oracle, Progress, Question, Session, Setting, Waiting

__all__ = ["Batch", "Oracle", "Progress", "Question", "Session", "Setting", "Waiting"]
