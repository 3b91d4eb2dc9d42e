"""Checks a run directory: every file, and that what they say fits together."""

import json
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aljax import agreement, checkpoints, diagnostics, files, pairs, records, selections, summary
from aljax import config as fields
from aljax.errors import Refused
from aljax.files import Record


def problems(workdir: Path) -> Iterator[str]:
    """What is wrong with a run directory, one line each; nothing, if nothing is.

    An unfinished run is not wrong: its complete cycles are checked.

    Args:
      workdir: the run directory.
    """
    path = workdir / "config.json"
    try:
        config = json.loads(path.read_bytes())
        for name in (*records.ENVIRONMENT, records.DATA):
            config.pop(name, None)
        config["train"]["milestones"] = tuple(config["train"]["milestones"])
        config["compare"] = tuple(config["compare"])
        fields.check(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Refused) as error:
        yield f"{path}: {error}"
        return
    lines = yield from _lines(workdir / "cycles.jsonl", config)
    timings = yield from _lines(workdir / "timings.jsonl", config)
    if len(timings) not in (len(lines), len(lines) + 1):  # timings are written first
        yield f"{workdir / 'timings.jsonl'}: {len(timings)} lines for {len(lines)} complete cycles"
    noted = yield from _lines(workdir / records.DIAGNOSTICS, config)
    if len(noted) not in (len(lines), len(lines) + 1):  # diagnostics are written before the selections
        yield f"{workdir / records.DIAGNOSTICS}: {len(noted)} lines for {len(lines)} complete cycles"
    for number, noted_line in enumerate(noted[: len(lines)], start=1):
        yield from _diagnostics(workdir, number, noted_line, config)
    labeled: dict[int, set[int]] = {}
    of_cycles = [
        problem
        for number, line in enumerate(lines, start=1)
        for problem in _cycle(workdir, number, line, config, labeled.setdefault(line["trial"], set()))
    ]
    yield from of_cycles
    if not of_cycles:
        yield from _pairs(workdir, lines)
    for checkpoint in sorted(workdir.glob("checkpoints/trial-*/cycle-*")):
        try:
            if checkpoints.NAME.fullmatch(checkpoint.name):  # else it was never complete
                checkpoints.read(checkpoint)
        except checkpoints.Damaged as error:
            yield f"{checkpoint}: damaged ({error})"
    if len(lines) == config["trials"] * config["cycles"] and not of_cycles:
        yield from _summary(workdir, lines)
    elif (workdir / "summary.json").exists() and not of_cycles:
        yield f"{workdir / 'summary.json'}: there, though {len(lines)} cycles are not the whole run"


def _lines(path: Path, config: dict[str, Any]) -> Generator[str, None, list[files.Record]]:
    """The lines that are right up to the first that is not, which is yielded as a problem."""
    try:
        lines, length = files.read_lines(path)
    except (Refused, OSError) as error:
        yield str(error)
        return []
    if not path.exists():
        yield f"{path}: missing"
    elif length < path.stat().st_size:
        yield f"{path}:{len(lines) + 1}: half-written"
    for number, line in enumerate(lines):
        trial, cycle = divmod(number, config["cycles"])
        expected = (config["first_trial"] + trial, cycle + 1)
        if (line.get("trial"), line.get("cycle")) != expected or trial >= config["trials"]:
            yield f"{path}:{number + 1}: is of trial {line.get('trial')}, cycle {line.get('cycle')}"
            return lines[:number]
    return lines


def _cycle(
    workdir: Path, number: int, line: Record, config: dict[str, Any], labeled: set[int]
) -> Iterator[str]:
    """Checks one line against its selections; adds what was labeled to `labeled`."""
    where = f"{workdir / 'cycles.jsonl'}:{number}"
    path = selections.path_of(workdir, line["trial"], line["cycle"])
    budget, subset_size = config["budget"], config["subset_size"]
    chosen = selections.load(path)
    if chosen is None:
        yield f"{path}: {'damaged' if path.exists() else 'missing'}"
        return
    subset = set(chosen.subset.tolist())
    rising = np.all(np.diff(chosen.subset) > 0)
    if chosen.subset.shape != (subset_size,) or len(subset) != subset_size or not rising:
        yield f"{path}: the sub-pool is not {subset_size} different images in rising order"
    if again := subset & labeled:
        yield f"{path}: {len(again)} images of the sub-pool were labeled before"
    batches = {name: getattr(chosen, name) for name in ("uncertainty", "diversity", "acquired")}
    for name, batch in {**batches, **chosen.compared}.items():
        if batch.shape != (budget,) or len(set(batch.tolist())) != budget:
            yield f"{path}: the {name} selection is not {budget} different images"
            return
        if strange := set(batch.tolist()) - subset:
            yield f"{path}: {len(strange)} images of the {name} selection are not in the sub-pool"
    for scores in (chosen.scores, *chosen.compared_scores.values()):
        if scores.shape not in ((subset_size,), (0,)) or not np.all(np.isfinite(scores)):
            yield f"{path}: the scores are not {subset_size} finite numbers"
    labeled |= set(chosen.acquired.tolist())
    measured = agreement.compare(chosen.uncertainty, chosen.diversity, subset_size)._asdict()
    expected = {**measured, "labeled": len(labeled), "budget": budget, "subset_size": subset_size}
    for name, value in expected.items():
        if line.get(name) != value:
            yield f"{where}: {name} is {line.get(name)}, and the selections give {value}"
    for name in summary.MEASURES:
        if not isinstance(line.get(name), int | float):
            yield f"{where}: {name} is {line.get(name)!r}, not a number"


def _pairs(workdir: Path, lines: Sequence[Record]) -> Iterator[str]:
    path = workdir / "pairs.jsonl"
    expected = []
    for line in lines:
        chosen = selections.load(selections.path_of(workdir, line["trial"], line["cycle"]))
        assert chosen is not None  # as the cycles were checked
        place = {"trial": line["trial"], "cycle": line["cycle"]}
        found = pairs.compare(chosen.compared, chosen.compared_scores, len(chosen.subset))
        expected += [{**place, **pair} for pair in found]
    try:
        recorded, _ = files.read_lines(path)
    except (Refused, OSError) as error:
        yield str(error)
        return
    if recorded[: len(expected)] != expected:
        yield f"{path}: is not what the selections give"


def _diagnostics(workdir: Path, number: int, line: Record, config: dict[str, Any]) -> Iterator[str]:
    """Checks what was measured of one cycle, and what is kept of its images, against its selections."""
    where = f"{workdir / records.DIAGNOSTICS}:{number}"
    sizes = {"pool": config["subset_size"], "uncertainty": config["budget"], "diversity": config["budget"]}
    counts = line.get("classes") or {}
    for name, size in sizes.items():
        if sum(counts.get(name) or [0]) != size:
            yield f"{where}: the classes of {name} do not add up to {size} images"
    path = diagnostics.path_of(workdir, line["trial"], line["cycle"])
    chosen = selections.load(selections.path_of(workdir, line["trial"], line["cycle"]))
    if line["trial"] != config["first_trial"] or line.get("distance") is None or chosen is None:
        return
    try:
        kept = diagnostics.unpacked(path)
    except ValueError as error:
        yield f"{path}: {error if path.exists() else 'missing'}"
        return
    by_uncertainty, by_diversity = (
        np.isin(chosen.subset, batch) for batch in (chosen.uncertainty, chosen.diversity)
    )
    wanted = diagnostics.UNCERTAINTY * by_uncertainty + diagnostics.DIVERSITY * by_diversity
    if not np.array_equal(kept.group, wanted):
        yield f"{path}: is of other selections"
    if np.bincount(kept.labels, minlength=len(kept.class_names)).tolist() != counts.get("pool"):
        yield f"{path}: its labels are not those of {records.DIAGNOSTICS}:{number}"


def _summary(workdir: Path, lines: Sequence[files.Record]) -> Iterator[str]:
    for name, content in summary.contents(lines, files.read_lines(workdir / "pairs.jsonl")[0]).items():
        path = workdir / name
        if not path.exists():
            yield f"{path}: missing"
        elif path.read_bytes() != content:
            yield f"{path}: is not what cycles.jsonl gives"


def main(arguments: Sequence[str]) -> int:
    """`python -m aljax.records verify RUN_DIR`: 0 all is right, 1 something is wrong, 2 wrong use."""
    if len(arguments) != 2 or arguments[0] != "verify":
        print("usage: python -m aljax.records verify RUN_DIR", file=sys.stderr)
        return 2
    workdir = Path(arguments[1])
    if not workdir.is_dir():
        print(f"{workdir}: no such folder; accepted: a run directory", file=sys.stderr)
        return 2
    found = list(problems(workdir))
    for problem in found:
        print(problem)
    if not found:
        count = len(files.read_lines(workdir / "cycles.jsonl")[0])
        print(f"{workdir}: {count} complete cycles, and nothing wrong with them")
    return 1 if found else 0
