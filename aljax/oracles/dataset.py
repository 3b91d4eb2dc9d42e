"""Answers from labels that are known: a person that needs no time, for simulations and tests."""

import contextlib
from collections.abc import Iterator, Mapping

from aljax.oracles.base import Batch, Oracle, Progress, Session, Setting
from aljax.records import journal
from aljax.records.journal import Answer


def answering(labels: Mapping[str, str]) -> Oracle:
    """Returns an oracle that answers every question from `labels`, by file; with skip where there is none."""

    @contextlib.contextmanager
    def oracle(setting: Setting) -> Iterator[Session]:
        def ask(batch: Batch) -> None:
            now = journal.now()
            asked = ((question, labels.get(question.file, "")) for question in batch.questions)
            answers = (
                Answer(
                    *(question.file, question.sha256, "label" if label else "skip", label),
                    *(batch.cycle, "dataset", 0.0, now),
                )
                for question, label in asked
            )
            journal.append(setting.workdir, *answers)

        def report(progress: Progress) -> None:
            pass

        yield Session(ask, report)

    return oracle
