"""Checks the records of one cycle against its selections; each check yields one line for each problem."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aljax import agreement, scenarios
from aljax.config import budget_of
from aljax.records import arrays, diagnostics, selections, summary
from aljax.records.directory import DIAGNOSTICS
from aljax.records.files import Record
from aljax.records.selections import Selections

Config = Mapping[str, Any]
Labeled = set[Any]  # images of the data set, and (cycle, proposal) of images that were made


def cycle(workdir: Path, number: int, line: Record, config: Config, labeled: Labeled) -> Iterator[str]:
    """Checks a line of cycles.jsonl, and adds the images that were labeled to `labeled`.

    Args:
      workdir: the run directory.
      number: of the line, from 1.
      line: its record.
      config: the run's.
      labeled: the images that the trial labeled before.
    """
    where = f"{workdir / 'cycles.jsonl'}:{number}"
    path = selections.path_of(workdir, line["trial"], line["cycle"])
    size = config["subset_size"]
    chosen = selections.load(path)
    if chosen is None:
        yield f"{path}: {'damaged' if path.exists() else 'missing'}"
        return
    if chosen.subset.shape != (size,) or not np.all(np.diff(chosen.subset) > 0):
        yield f"{path}: the sub-pool is not {size} different images in rising order"
        return
    for scores in (chosen.scores, *chosen.compared_scores.values()):
        if scores.shape not in ((size,), (0,)) or not np.all(np.isfinite(scores)):
            yield f"{path}: the scores are not {size} finite numbers"
    scenario = scenarios.of_cycle(config, line["cycle"])
    try:
        strange = list(OF_SCENARIOS[scenario](path, chosen, config, labeled))
    except KeyError as error:
        strange = [f"{path}: lacks details/{error.args[0]}, which a {scenario} has"]
    if scenario != "stream" and "arrivals" in chosen.details:
        strange.append(f"{path}: holds details/arrivals, which only a stream has")
    yield from strange
    if strange:
        return
    offered = set(chosen.details.get("arrivals", chosen.subset).tolist())
    count = len(chosen.acquired) if scenario == "stream" else budget_of(config, line["cycle"])
    batches = {name: getattr(chosen, name) for name in ("uncertainty", "diversity", "acquired")}
    for name, batch in {**batches, **chosen.compared}.items():
        if batch.shape != (count,) or len(set(batch.tolist())) != count:
            yield f"{path}: the {name} selection is not {count} different images"
            return
        if outside := set(batch.tolist()) - offered:
            yield f"{path}: {len(outside)} images of the {name} selection are not in the sub-pool"
            return
    taken = chosen.acquired.tolist()
    labeled |= {(line["cycle"], image) for image in taken} if scenario == "synthesis" else set(taken)
    measured = agreement.measured(chosen.uncertainty, chosen.diversity, len(offered))._asdict()
    expected = {
        **measured,
        "labeled": len(labeled),
        "budget": budget_of(config, line["cycle"]),
        "subset_size": size,
    }
    expected |= {"ties": selections.ties(chosen), "selections_sha256": selections.digest(path)}
    if config["scenario"] == "stream":
        expected |= {"seen": len(offered), "queried": count}
    for name, value in expected.items():
        if line.get(name) != value:
            yield f"{where}: {name} is {line.get(name)}, and the selections give {value}"
    for name in config.get("metrics", ()):
        if name not in line:
            yield f"{where}: lacks {name}, which config.metrics asks for"
    for name in summary.MEASURES:
        if not isinstance(line.get(name), int | float) and measured.get(name, 0) is not None:
            yield f"{where}: {name} is {line.get(name)!r}, not a number"


def _pool(path: Path, chosen: Selections, config: Config, labeled: Labeled) -> Iterator[str]:
    if again := set(chosen.subset.tolist()) & labeled:
        yield f"{path}: {len(again)} images of the sub-pool were labeled before"


def _stream(path: Path, chosen: Selections, config: Config, labeled: Labeled) -> Iterator[str]:
    yield from _pool(path, chosen, config, labeled)
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


def _synthesis(path: Path, chosen: Selections, config: Config, labeled: Labeled) -> Iterator[str]:
    sources = np.concatenate([chosen.details["source"], chosen.details["other"]])
    if strange := set(sources.tolist()) - labeled:
        yield f"{path}: {len(strange)} images that others were made from are not labeled"
    for number, image in enumerate(chosen.details["images"]):
        shown = path.with_suffix("") / f"{number:03d}.png"
        if not arrays.shows(shown, image):
            yield f"{shown}: {'is not the image that was queried' if shown.exists() else 'missing'}"


OF_SCENARIOS: dict[str, Callable[[Path, Selections, Config, Labeled], Iterator[str]]] = {
    "pool": _pool,
    "stream": _stream,
    "synthesis": _synthesis,
}


def noted(workdir: Path, number: int, line: Record, config: Config) -> Iterator[str]:
    """Checks a line of diagnostics.jsonl, and the gallery of its cycle.

    Args:
      workdir: the run directory.
      number: of the line, from 1.
      line: its record.
      config: the run's.
    """
    where = f"{workdir / DIAGNOSTICS}:{number}"
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
        yield f"{path}: its labels are not those of {DIAGNOSTICS}:{number}"
