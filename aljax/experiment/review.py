"""Answers that a cross-validated model doubts, to be looked at again.

Each labeled image is judged by a model that was trained on the others. Source: Northcutt, Jiang & Chuang,
"Confident Learning", JAIR 2021, of which this is the ranking by self-confidence.

Shapes: n labeled images, K classes.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from aljax.config import images_in
from aljax.errors import InvalidInputError
from aljax.experiment import collection, inputs, people, questions, validation
from aljax.experiment.monitor import monitoring
from aljax.experiment.study import assembled, environment, key_of, local_mesh, steps_of
from aljax.oracles import Batch, Progress, Question, Setting
from aljax.oracles.page import page
from aljax.records import directory, journal, reader, stored_config
from aljax.report import people as reported

FOLDS = 5


def doubted(workdir: Path) -> list[Question]:
    """Returns the questions whose answer models contradict, the surest contradiction first.

    The guess of a question and its score are those of a model that has not seen the answer; the score is by
    how much more probable it finds its guess.

    Raises:
      InvalidInputError: if it is no run that people label, or less than `FOLDS` images have a label.
    """
    config = stored_config.checked(workdir / stored_config.NAME)
    devices = local_mesh(config)
    with directory.opened(workdir, config, environment(devices), people.FREE):
        dataset = inputs.load(config, workdir, unknown=True)
        people.check_files(config, dataset)
        study = assembled(config, workdir, devices, dataset)
        images = dataset.train
        nobody = np.zeros(len(images.ids), bool)
        known = collection.known(images, study.class_names, journal.read(workdir), nobody)
        rows = known.trained
        if len(rows) < FOLDS:
            raise InvalidInputError(f"{workdir}: {len(rows)} images have a label; accepted: at least {FOLDS}")
        log_probs = np.zeros((len(rows), len(study.class_names)), np.float32)
        parts = validation.folds(key_of(study, 0, 0, "review"), np.arange(len(rows)), FOLDS)
        with monitoring(partial(steps_of, study), [], [], workdir) as monitor:
            world = people.World(study, dataset, nobody, monitor)
            for number, part in enumerate(parts, start=1):
                labels = known.labels.copy()
                labels[rows[part]] = -1
                progress = people.trained(world, known._replace(labels=labels), 1, f"-review-{number}")
                if progress is not None:
                    log_probs[part] = questions.predicted(study, progress, rows[part])
                people.forget(workdir, f"-review-{number}")
    answers = known.labels[rows]
    shares = np.exp(log_probs)
    gaps = shares.max(-1) - shares[np.arange(len(rows)), answers]
    order = [place for place in np.argsort(-gaps, kind="stable") if gaps[place] > 0]
    found = []
    for rank, place in enumerate(order, start=1):
        row, guess = rows[place], int(shares[place].argmax())
        question = Question(
            file=images.ids[row],
            path=Path(images.files[row].path),
            sha256=images.files[row].sha256,
            rank=rank,
            score=float(gaps[place]),
            guess=study.class_names[guess],
            probability=float(shares[place, guess]),
            reason="review",
            answer=study.class_names[answers[place]],
        )
        found.append(question)
    return found


def ask_again(workdir: Path, questions: Sequence[Question]) -> int:
    """Asks about images again, on a page; returns how many now have another label.

    The answers stand in the journal with the number after the last cycle's.

    Raises:
      InvalidInputError: if a run is at work in the directory.
      Interrupted: after SIGINT or SIGTERM; answers are kept.
    """
    config = stored_config.checked(workdir / stored_config.NAME)
    before = journal.read(workdir)
    cycle = max(one.cycle for one in before) + 1
    names = reported.class_names(reader.load(workdir), reported.load(workdir))
    setting = Setting(workdir, images_in(config["dataset"]), tuple(names), config["page"]["port"], "review")
    with (
        directory.opened(workdir, config, environment(local_mesh(config)), people.FREE),
        page(setting) as session,
        people.interruptible(),
    ):
        session.report(Progress("asking", cycle, len(journal.standing(before)), None, None))
        session.ask(Batch(cycle, tuple(questions)))
        session.report(Progress("finished", cycle, len(journal.standing(before)), None, None))
    stands = journal.standing(journal.read(workdir))
    return sum(stands[one.file].label != one.answer for one in questions)
