"""Checks a run directory: every file, and that what they say fits together."""

import json
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aljax import agreement, pairs
from aljax.config import check
from aljax.errors import InvalidInputError
from aljax.experiment import candidates as scenarios
from aljax.records import checkpoints, diagnostics, files, selections, summary
from aljax.records import directory as records
from aljax.records.files import Record
from aljax.records.selections import Selections
from aljax.scenarios import stopping


def problems(workdir: Path) -> Iterator[str]:
    """What is wrong with a run directory, one line each; nothing, if nothing is.

    An unfinished run is not wrong: its complete cycles are checked.

    Args:
      workdir: the run directory.
    """
    path = workdir / "config.json"
    try:
        config = json.loads(path.read_bytes())
        for name in (*records.ENVIRONMENT, *records.DIGESTS):
            config.pop(name, None)
        config["train"]["milestones"] = tuple(config["train"]["milestones"])
        config["compare"] = tuple(config["compare"])
        check(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidInputError) as error:
        yield f"{path}: {error}"
        return
    plan = [
        (config["first_trial"] + trial, cycle)
        for trial in range(config["trials"])
        for cycle in range(1, config["cycles"] + 1)
    ]
    lines, plan = yield from _lines(workdir / "cycles.jsonl", plan)
    timings, _ = yield from _lines(workdir / "timings.jsonl", plan)
    if len(timings) not in (len(lines), len(lines) + 1):  # timings are written first
        yield f"{workdir / 'timings.jsonl'}: {len(timings)} lines for {len(lines)} complete cycles"
    noted, _ = yield from _lines(workdir / records.DIAGNOSTICS, plan)
    if len(noted) not in (len(lines), len(lines) + 1):  # diagnostics are written before the selections
        yield f"{workdir / records.DIAGNOSTICS}: {len(noted)} lines for {len(lines)} complete cycles"
    for number, noted_line in enumerate(noted[: len(lines)], start=1):
        yield from _diagnostics(workdir, number, noted_line, config)
    labeled: dict[int, set[Any]] = {}
    of_cycles = [
        problem
        for number, line in enumerate(lines, start=1)
        for problem in (
            *_cycle(workdir, number, line, config, labeled.setdefault(line["trial"], set())),
            *_stopped(workdir, number, lines, config),
        )
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
    if len(lines) == len(plan) and not of_cycles:
        yield from _summary(workdir, lines)
    elif (workdir / "summary.json").exists() and not of_cycles:
        yield f"{workdir / 'summary.json'}: there, though {len(lines)} cycles are not the whole run"


def _lines(
    path: Path, plan: list[tuple[int, int]]
) -> Generator[str, None, tuple[list[Record], list[tuple[int, int]]]]:
    """The lines that are right up to the first that is not, which is yielded as a problem; their plan."""
    try:
        lines, length = files.read_lines(path)
    except (InvalidInputError, OSError) as error:
        yield str(error)
        return [], plan
    if not path.exists():
        yield f"{path}: missing"
    elif length < path.stat().st_size:
        yield f"{path}:{len(lines) + 1}: half-written"
    plan = records.shortened(plan, lines)
    for number, line in enumerate(lines):
        if number == len(plan) or records.place_of(line) != plan[number]:
            yield f"{path}:{number + 1}: is of trial {line.get('trial')}, cycle {line.get('cycle')}"
            return lines[:number], plan
    return lines, plan


def _cycle(
    workdir: Path, number: int, line: Record, config: dict[str, Any], labeled: set[Any]
) -> Iterator[str]:
    """Checks one line against its selections; adds what was labeled to `labeled`."""
    where = f"{workdir / 'cycles.jsonl'}:{number}"
    path = selections.path_of(workdir, line["trial"], line["cycle"])
    subset_size = config["subset_size"]
    chosen = selections.load(path)
    if chosen is None:
        yield f"{path}: {'damaged' if path.exists() else 'missing'}"
        return
    subset = set(chosen.subset.tolist())
    rising = np.all(np.diff(chosen.subset) > 0)
    if chosen.subset.shape != (subset_size,) or len(subset) != subset_size or not rising:
        yield f"{path}: the sub-pool is not {subset_size} different images in rising order"
    for scores in (chosen.scores, *chosen.compared_scores.values()):
        if scores.shape not in ((subset_size,), (0,)) or not np.all(np.isfinite(scores)):
            yield f"{path}: the scores are not {subset_size} finite numbers"
    scenario = scenarios.of_cycle(config, line["cycle"])
    try:
        strange = list(OF_SCENARIOS[scenario](path, chosen, config, labeled))
    except KeyError as error:
        strange = [f"{path}: lacks details/{error.args[0]}, which a {scenario} has"]
    yield from strange
    if strange:
        return
    offered = set(chosen.details.get("arrivals", chosen.subset).tolist())
    count = len(chosen.acquired) if scenario == "stream" else config["budget"]
    batches = {name: getattr(chosen, name) for name in ("uncertainty", "diversity", "acquired")}
    for name, batch in {**batches, **chosen.compared}.items():
        if batch.shape != (count,) or len(set(batch.tolist())) != count:
            yield f"{path}: the {name} selection is not {count} different images"
            return
        if outside := set(batch.tolist()) - offered:
            yield f"{path}: {len(outside)} images of the {name} selection are not in the sub-pool"
    taken = chosen.acquired.tolist()
    labeled |= {(line["cycle"], image) for image in taken} if scenario == "synthesis" else set(taken)
    measured = agreement.measured(chosen.uncertainty, chosen.diversity, len(offered))._asdict()
    expected = {**measured, "labeled": len(labeled), "budget": config["budget"], "subset_size": subset_size}
    if config["scenario"] == "stream":
        expected |= {"seen": len(offered), "queried": count}
    for name, value in expected.items():
        if line.get(name) != value:
            yield f"{where}: {name} is {line.get(name)}, and the selections give {value}"
    for name in summary.MEASURES:
        if not isinstance(line.get(name), int | float) and measured.get(name, 0) is not None:
            yield f"{where}: {name} is {line.get(name)!r}, not a number"


def _of_pool(path: Path, chosen: Selections, config: dict[str, Any], labeled: set[Any]) -> Iterator[str]:
    if again := set(chosen.subset.tolist()) & labeled:
        yield f"{path}: {len(again)} images of the sub-pool were labeled before"


def _of_stream(path: Path, chosen: Selections, config: dict[str, Any], labeled: set[Any]) -> Iterator[str]:
    yield from _of_pool(path, chosen, config, labeled)
    arrivals, thresholds = chosen.details["arrivals"], chosen.details["thresholds"]
    if set(arrivals.tolist()) - set(chosen.subset.tolist()) or len(np.unique(arrivals)) != len(arrivals):
        yield f"{path}: the arrivals are not different images of the sub-pool"
    elif thresholds.shape != arrivals.shape:
        yield f"{path}: {thresholds.size} thresholds for {arrivals.size} arrivals"
    elif len(chosen.acquired) > config["budget"]:
        yield f"{path}: {len(chosen.acquired)} images were queried, more than the budget"
    else:
        scores = chosen.scores[np.searchsorted(chosen.subset, arrivals)]
        if not np.array_equal(arrivals[scores > thresholds], chosen.acquired):
            yield f"{path}: the images queried are not those above their thresholds"


def _of_synthesis(path: Path, chosen: Selections, config: dict[str, Any], labeled: set[Any]) -> Iterator[str]:
    sources = np.concatenate([chosen.details["source"], chosen.details["other"]])
    if strange := set(sources.tolist()) - labeled:
        yield f"{path}: {len(strange)} images that others were made from are not labeled"
    for number, image in enumerate(chosen.details["images"]):
        shown = path.with_suffix("") / f"{number:03d}.png"
        try:
            with Image.open(shown) as stored:
                same = np.array_equal(np.asarray(stored), image.squeeze())
        except OSError:
            same = False
        if not same:
            yield f"{shown}: {'is not the image that was queried' if shown.exists() else 'missing'}"


OF_SCENARIOS = {"pool": _of_pool, "stream": _of_stream, "synthesis": _of_synthesis}


def _stopped(workdir: Path, number: int, lines: list[Record], config: dict[str, Any]) -> Iterator[str]:
    """Checks why a trial stopped, or did not, with a line."""
    rules, line = stopping.Rules(**config["stop"]), lines[number - 1]
    if not stopping.asked_for(rules):
        return
    history = [other for other in lines[:number] if other["trial"] == line["trial"]]
    try:
        reason = stopping.reason(history, rules, config["cycles"])
    except (KeyError, TypeError) as error:
        yield f"{workdir / 'cycles.jsonl'}:{number}: its rules of stopping cannot be judged ({error!r})"
        return
    if line.get("stopped") != reason:
        where = f"{workdir / 'cycles.jsonl'}:{number}"
        yield f"{where}: stopped is {line.get('stopped')!r}, and the lines give {reason!r}"


def _pairs(workdir: Path, lines: Sequence[Record]) -> Iterator[str]:
    path = workdir / "pairs.jsonl"
    expected = []
    for line in lines:
        chosen = selections.load(selections.path_of(workdir, line["trial"], line["cycle"]))
        assert chosen is not None  # as the cycles were checked
        place = {"trial": line["trial"], "cycle": line["cycle"]}
        found = pairs.compare(chosen.compared, chosen.compared_scores, scenarios.offered(chosen))
        expected += [{**place, **pair} for pair in found]
    try:
        recorded, _ = files.read_lines(path)
    except (InvalidInputError, OSError) as error:
        yield str(error)
        return
    if recorded[: len(expected)] != expected:
        yield f"{path}: is not what the selections give"


def _diagnostics(workdir: Path, number: int, line: Record, config: dict[str, Any]) -> Iterator[str]:
    """Checks what was measured of one cycle, and what is kept of its images, against its selections."""
    where = f"{workdir / records.DIAGNOSTICS}:{number}"
    chosen = selections.load(selections.path_of(workdir, line["trial"], line["cycle"]))
    if chosen is None:
        return
    batches = {"pool": chosen.subset, "uncertainty": chosen.uncertainty, "diversity": chosen.diversity}
    counts = line.get("classes") or {}
    for name, batch in batches.items():
        if sum(counts.get(name) or [0]) != len(batch):
            yield f"{where}: the classes of {name} do not add up to {len(batch)} images"
    path = diagnostics.path_of(workdir, line["trial"], line["cycle"])
    if line["trial"] != config["first_trial"] or line.get("distance") is None:
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
