"""Checks a run directory: every file by itself, and all of them against each other."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from aljax import agreement
from aljax.errors import InvalidInputError
from aljax.records import (
    answers,
    checkpoints,
    consistency,
    events,
    files,
    manifest,
    places,
    selections,
    stored_config,
    summary,
)
from aljax.records.directory import DIAGNOSTICS
from aljax.records.files import Record
from aljax.records.places import Place
from aljax.scenarios import stopping


def problems(workdir: Path) -> Iterator[str]:
    """Yields one line for each problem in a run directory.

    An unfinished run is no problem: what it has written is checked.

    Args:
      workdir: the run directory.
    """
    named = set()
    try:
        for problem in _of_records(workdir):
            named.add(problem.split(": ")[0])
            yield problem
        for problem in _witnessed(workdir):
            if problem.split(": ")[0] not in named:
                yield problem
    except InvalidInputError as error:
        yield str(error)
    except OSError as error:
        yield f"{error.filename}: cannot be read ({error.strerror})"


def _of_records(workdir: Path) -> Iterator[str]:
    """Yields the problems of the records, and of what is made from them."""
    path = workdir / "config.json"
    try:
        config = stored_config.checked(path)
    except InvalidInputError as error:
        yield str(error)
        return
    lines, plan = yield from _lines(workdir / "cycles.jsonl", places.plan(config))
    timings, _ = yield from _lines(workdir / "timings.jsonl", plan)
    if len(timings) not in (len(lines), len(lines) + 1):  # timings are written first
        yield f"{workdir / 'timings.jsonl'}: {len(timings)} lines for {len(lines)} complete cycles"
    by_people = config["oracle"] != "dataset"
    if by_people:
        yield from answers.problems(workdir, lines)
    else:
        noted, _ = yield from _lines(workdir / DIAGNOSTICS, plan)
        if len(noted) not in (len(lines), len(lines) + 1):  # diagnostics are written before the selections
            yield f"{workdir / DIAGNOSTICS}: {len(noted)} lines for {len(lines)} complete cycles"
        for number, line in enumerate(noted[: len(lines)], start=1):
            yield from consistency.noted(workdir, number, line, config)
    labeled: dict[int, set[Any]] = {}
    of_cycles: list[str] = []
    for number, line in enumerate(lines, start=1):
        if by_people:
            of_cycles += answers.cycle(workdir, number, line, config)
        else:
            known = labeled.setdefault(line["trial"], set())
            of_cycles += consistency.cycle(workdir, number, line, config, known)
        of_cycles += _stopped(workdir, number, lines, config)
    yield from of_cycles
    yield from _checkpoints(workdir, by_people)
    yield from _queries(workdir)
    if of_cycles:
        return
    yield from _pairs(workdir, lines)
    if len(lines) == len(plan):
        if not _goes_on(workdir):
            yield from summaries(workdir, lines)
        if not manifest.exists(workdir):
            yield f"{workdir / manifest.NAME}: missing"
        return
    if (workdir / "summary.json").exists():
        yield f"{workdir / 'summary.json'}: there, though {len(lines)} cycles are not the whole run"
    if manifest.finished(workdir):
        yield f"{workdir / manifest.NAME}: there, though {len(lines)} cycles are not the whole run"
    if lines and not manifest.exists(workdir):
        yield f"{workdir / manifest.NAME}: missing"


def _goes_on(workdir: Path) -> bool:
    """Tells whether the report alone is left, which the same command makes."""
    try:
        return manifest.exists(workdir) and not manifest.finished(workdir)
    except InvalidInputError:
        return False


def _witnessed(workdir: Path) -> Iterator[str]:
    """Checks the files that the manifest lists, and the curves of a run that is not finished."""
    if not manifest.exists(workdir):
        return
    yield from manifest.problems(workdir)
    if _goes_on(workdir):
        for path in sorted(workdir.glob("tensorboard/*/*")):
            yield from events.problems(path)


def _lines(path: Path, plan: list[Place]) -> Generator[str, None, tuple[list[Record], list[Place]]]:
    """Yields the problems of a .jsonl file; returns its lines before the first wrong one, and their plan."""
    try:
        lines, length = files.read_lines(path)
    except (InvalidInputError, OSError) as error:
        yield str(error)
        return [], plan
    if not path.exists():
        yield f"{path}: missing"
    elif path.is_symlink():
        yield f"{path}: is a link; accepted: the file that aljax wrote"
    elif length < path.stat().st_size:
        yield f"{path}:{len(lines) + 1}: half-written"
    plan = places.shortened(plan, lines)
    for number, line in enumerate(lines):
        if number == len(plan) or places.place_of(line) != plan[number]:
            yield f"{path}:{number + 1}: is of trial {line.get('trial')}, cycle {line.get('cycle')}"
            return lines[:number], plan
    return lines, plan


def _stopped(workdir: Path, number: int, lines: Sequence[Record], config: Record) -> Iterator[str]:
    """Checks the reason for which a trial stopped with a line, or went on."""
    rules, line = stopping.Rules(**config["stop"], batch=config["budget"]), lines[number - 1]
    if not stopping.asked_for(rules):
        return
    history = [other for other in lines[:number] if other["trial"] == line["trial"]]
    where = f"{workdir / 'cycles.jsonl'}:{number}"
    try:
        reason = stopping.reason(history, rules, config["cycles"])
    except (KeyError, TypeError) as error:
        yield f"{where}: its rules of stopping cannot be judged ({error!r})"
        return
    if line.get("stopped") != reason:
        yield f"{where}: stopped is {line.get('stopped')!r}, and the lines give {reason!r}"


def expected_pairs(workdir: Path, lines: Sequence[Record]) -> list[Record]:
    """Returns what pairs.jsonl says where the selections are intact."""
    expected = []
    for line in lines:
        chosen = selections.load(selections.path_of(workdir, line["trial"], line["cycle"]))
        assert chosen is not None
        place = {"trial": line["trial"], "cycle": line["cycle"]}
        offered = selections.offered(chosen)
        found = agreement.compare_all(chosen.compared, chosen.compared_scores, offered)
        expected += [{**place, **pair} for pair in found]
    return expected


def _pairs(workdir: Path, lines: Sequence[Record]) -> Iterator[str]:
    """Checks pairs.jsonl against the selections, which were checked before."""
    path = workdir / "pairs.jsonl"
    expected = expected_pairs(workdir, lines)
    try:
        recorded, _ = files.read_lines(path)
    except InvalidInputError as error:
        yield str(error)
        return
    if path.is_symlink():
        yield f"{path}: is a link; accepted: the file that aljax wrote"
    if recorded[: len(expected)] != expected:
        yield f"{path}: is not what the selections give"


def _checkpoints(workdir: Path, by_people: bool) -> Iterator[str]:
    """Checks each complete checkpoint by itself, and that it belongs to this run, trial and cycle.

    Where people label, a checkpoint belongs to the labels of its time, which may have been corrected since.
    """
    found = sorted(workdir.glob("checkpoints/trial-*/cycle-*"))
    complete = {path: match for path in found if (match := checkpoints.NAME.fullmatch(path.name))}
    if not complete:
        return
    run = stored_config.identity(workdir)
    for path, match in complete.items():
        try:
            owner, _ = checkpoints.read(path)
        except checkpoints.Damaged as error:
            yield f"{path}: damaged ({error})"
            continue
        if by_people:
            run = owner.run
        if (owner.run, owner.part, owner.cycle) != (run, path.parent.name, int(match[1])):
            yield f"{path}: is of another training ({owner.part}, cycle {owner.cycle}, run {owner.run})"


def _queries(workdir: Path) -> Iterator[str]:
    """Checks that every line says how an image was made as it was written."""
    for path in sorted(workdir.glob("selections/trial-*/cycle-*/queries.jsonl")):
        try:
            files.read_lines(path)
        except InvalidInputError as error:
            yield str(error)


def summaries(workdir: Path, lines: Sequence[Record]) -> Iterator[str]:
    """Checks the summary of a finished run against its records."""
    for name, content in summary.contents(lines, files.read_lines(workdir / "pairs.jsonl")[0]).items():
        path = workdir / name
        if not path.exists():
            yield f"{path}: missing"
        elif files.read(path) != content:
            yield f"{path}: is not what cycles.jsonl gives"
