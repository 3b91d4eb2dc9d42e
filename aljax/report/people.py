"""A run that people label in numbers: labels, answers, accuracy, and what another batch would cost."""

import statistics
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from aljax.errors import InvalidInputError
from aljax.records import answers, inventory, journal, reader
from aljax.records.files import Record
from aljax.records.inventory import JUDGE, TEST, TRAIN, Image
from aljax.records.journal import Answer
from aljax.records.reader import Run


class Labels(NamedTuple):
    """The images of a run, and the answers of people."""

    images: list[Image]
    answers: list[Answer]
    counting: dict[str, Answer]  # by file

    def of(self, *splits: str) -> dict[str, str]:
        """Returns the label of each labeled image of some splits, by file."""
        wanted = (image.file for image in self.images if image.split in splits)
        stands = ((file, self.counting.get(file)) for file in wanted)
        return {file: answer.label for file, answer in stands if answer and answer.answer == "label"}


def load(workdir: Path) -> Labels:
    """Reads the images and the answers of a run.

    Raises:
      InvalidInputError: if it is no run that people label, or a file is damaged.
    """
    images, given = inventory.read(workdir), answers.read(workdir)
    if not images:
        raise InvalidInputError(f"{workdir}: no {inventory.NAME}; accepted: a run that people label")
    hashes = {image.file: image.sha256 for image in images}
    return Labels(images, given, inventory.standing(hashes, given))


def has_answers(run: Run) -> bool:
    """Tells whether people label a run."""
    return run.config.get("oracle", "dataset") != "dataset" and any(
        (run.path / name).exists() for name in (inventory.NAME, journal.NAME)
    )


def class_names(run: Run, labels: Labels) -> list[str]:
    """Returns the classes of a run: those of its config, else those that are labeled."""
    named = run.config["dataset"].get("class_names")
    return list(named or sorted({*labels.of(TRAIN, JUDGE, TEST).values()}))


def counts(run: Run, labels: Labels) -> list[tuple[str, int, int]]:
    """Returns how many labeled images of each class models are trained on, and are judged by."""
    train, judge = (Counter(labels.of(*of).values()) for of in ((TRAIN,), (JUDGE, TEST)))
    return [(name, train[name], judge[name]) for name in class_names(run, labels)]


def seconds_per_label(labels: Labels) -> float | None:
    """Returns the median seconds of an answer; None where nobody measured them."""
    measured = [answer.seconds for answer in labels.answers if answer.seconds > 0]
    return statistics.median(measured) if measured else None


def seconds_between(run: Run) -> float | None:
    """Returns the seconds of the last cycle in which nobody was asked; None without a cycle."""
    if not run.timings:
        return None
    phases = {name: value for name, value in run.timings[-1].items() if name not in ("trial", "cycle", "ask")}
    return sum(phases.values())


def accuracy(run: Run) -> str:
    """Returns the accuracy of the last model in words, with its 95 % interval and what it is measured on."""
    line = run.lines[-1] if run.lines else {}
    if line.get("accuracy") is None:
        return "accuracy: not known yet"
    low, high = line["interval"]
    return (
        f"accuracy {100 * line['accuracy']:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %, "
        f"on {line['judged']:,} images that no model was trained on"
    )


def cost(run: Run, labels: Labels) -> str:
    """Returns what another batch would cost, in words."""
    budget, each, between = run.config["budget"], seconds_per_label(labels), seconds_between(run)
    of_person = "seconds per label: not measured" if each is None else f"{each:.1f} s per label"
    waiting = "" if between is None else f", then {between:.0f} s of training and selecting"
    person = "" if each is None else f" {budget * each:.0f} s of answering"
    return f"{of_person}; another batch of {budget}:{person or ' as many answers'}{waiting}"


def sentences(workdir: Path) -> list[str]:
    """Returns the state of a run in lines of text."""
    run, labels = reader.load(workdir), load(workdir)
    labeled = labels.of(TRAIN, JUDGE)
    kinds = Counter(answer.answer for answer in labels.counting.values())
    pool = sum(image.split != TEST for image in labels.images)
    lines = [
        f"{workdir}: {len(run.lines)} of {run.config['cycles']} cycles; {len(labeled):,} of {pool:,} images "
        f"have a label, {kinds['skip']} were skipped, of {kinds['unsure']} nobody was sure"
    ]
    for name, train, judge in counts(run, labels):
        lines.append(f"  {name}: {train} to train on, {judge} to judge by")
    lines += [accuracy(run), cost(run, labels)]
    hashes = {image.file: image.sha256 for image in labels.images}
    for file, said in inventory.contradictions(hashes, labels.answers).items():
        given = ", ".join(f"{who or 'somebody'}: {label}" for who, label in said.items())
        lines.append(f"contradicting answers for {file}: {given} (the last one counts)")
    return lines


HEADINGS = (
    *("cycle", "asked", "labels", "skipped", "unsure"),
    *("accuracy %", "95 % interval", "judged by", "s of answering"),
)


def view(run: Run) -> dict[str, Any] | None:
    """Returns what the page shows of the answers; None where no people label, or a file is damaged."""
    if not has_answers(run):
        return None
    try:
        labels = load(run.path)
    except InvalidInputError as error:
        run.missing.append(str(error))
        return None
    spent: dict[int, float] = {}
    for answer in labels.answers:
        spent[answer.cycle] = spent.get(answer.cycle, 0.0) + answer.seconds
    hashes = {image.file: image.sha256 for image in labels.images}
    return {
        "headings": HEADINGS,
        "rows": [_row(line, spent.get(line["cycle"], 0.0)) for line in run.lines],
        "classes": counts(run, labels),
        "sentences": [accuracy(run), cost(run, labels)],
        "contradictions": inventory.contradictions(hashes, labels.answers),
        "by_test_set": any(image.split == TEST for image in labels.images),
    }


def _row(line: Record, seconds: float) -> tuple[str, ...]:
    kinds = line.get("answers") or {}
    known = line.get("interval")
    return (
        str(line["cycle"]),
        f"{line.get('asked') or 0:,}",
        *(f"{kinds.get(kind) or 0:,}" for kind in ("label", "skip", "unsure")),
        f"{100 * line['accuracy']:.1f}" if known else "-",
        f"{100 * known[0]:.1f} to {100 * known[1]:.1f}" if known else "-",
        f"{line.get('judged') or 0:,}",
        f"{seconds:.0f}" if seconds else "-",
    )
