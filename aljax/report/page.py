"""The page of one run, but for its figures: texts and numbers, ready for the template."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aljax.config import flatten
from aljax.records import arrays, diagnostics, reader, summary
from aljax.records.files import Record
from aljax.records.places import place_of
from aljax.records.reader import Run, get
from aljax.report import claims, explanation, people, protocol, text
from aljax.report.comparison import Difference, paired

GROUPS = (
    (diagnostics.BOTH, "both", "selected by both"),
    (diagnostics.UNCERTAINTY, "uncertainty", "only by uncertainty"),
    (diagnostics.DIVERSITY, "diversity", "only by diversity"),
)
PHASES = ("recover", "score", "select", "diagnose", "record", "train", "evaluate")


def view(run: Run) -> dict[str, Any]:
    """Returns the texts and numbers of one run."""
    config = run.config
    rows = summary.summarize(run.lines)
    return {
        "name": run.path.resolve().name,
        "config": config,
        "fields": flatten(config),
        "done": len(run.lines),
        "planned": config["trials"] * config["cycles"],
        "unfinished": reader.unfinished(run),
        "stopped": reader.stopped(run),
        "doubts": text.first(reader.doubts(run)),
        "missing": run.missing,
        "people": people.view(run),
        "cards": cards(run, rows),
        "title": text.title(rows) if rows else "",
        "headings": (*text.headings(rows), "trials not by chance"),
        "rows": [
            (*texts, _apart(run, row["cycle"])) for texts, row in zip(text.cells(rows), rows, strict=True)
        ],
        "claims": claims.judge(config, run.lines),
        "departures": protocol.departures(config),
        "on_data": protocol.is_on_data(config),
        "why": why(run),
        "gaps": gaps(run),
        "albums": albums(run),
        "pairs": matrices(run),
        "timings": timings(run),
    }


def cards(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Returns the few numbers to see first: a name, the number, and its condition."""
    if not rows:
        return []
    last = rows[-1]
    area = summary.area_under_curve(run.lines)
    shown = [
        ("C at the end", text.plus_minus(last["C"], "+.2f"), f"cycle {last['cycle']}"),
        (
            "accuracy at the end",
            text.plus_minus(last["accuracy"], ".1f", 100) + " %",
            f"{last['labeled']:,} labels",
        ),
    ]
    if len(rows) > 2:
        shown.insert(0, ("C with the first model", text.plus_minus(rows[1]["C"], "+.2f"), "cycle 2"))
    if area["mean"] is not None:
        shown.append(
            (
                "area under the accuracy curve",
                text.plus_minus(area, ".1f", 100) + " %",
                "mean height over labels",
            )
        )
    if run.timings:
        seconds = sum(sum(_phases(line).values()) for line in run.timings)
        shown.append(("time", text.duration(seconds), str(run.config.get("device", ""))))
    return shown


def why(run: Run) -> dict[str, Any] | None:
    """Returns the measures of diagnostics.jsonl per cycle: means over trials ± standard deviation."""
    if not run.diagnostics:
        return None
    columns = (
        ("distance", "uncertainty", ".2f"),
        ("distance", "diversity", ".2f"),
        ("distance", "pool", ".2f"),
        ("spearman", "loss", "+.2f"),
        ("spearman", "distance", "+.2f"),
        ("entropy", "uncertainty", ".2f"),
        ("entropy", "diversity", ".2f"),
        ("entropy", "pool", ".2f"),
    )
    rows = []
    for cycle in sorted({line["cycle"] for line in run.diagnostics}):
        group = [line for line in run.diagnostics if line["cycle"] == cycle]
        rows.append(
            (
                str(cycle),
                *(
                    text.plus_minus(summary.spread(get(line, *path) for line in group), form)
                    for *path, form in columns
                ),
            )
        )
    counts = [len(line["classes"]["pool"]) for line in run.diagnostics if get(line, "classes", "pool")]
    return {"rows": rows, "most": f"{math.log(counts[0]):.2f}" if counts else ""}


def gaps(run: Run) -> list[Difference]:
    """Compares the uncertainty batch's distance with others', in the first and last cycle with a model."""
    measured = [line for line in run.diagnostics if line.get("distance")]
    cycles = sorted({line["cycle"] for line in measured})
    found = []
    for cycle in cycles[:1] + cycles[1:][-1:]:
        of = {
            name: {
                line["trial"]: line["distance"][name]
                for line in measured
                if line["cycle"] == cycle and get(line, "distance", name) is not None
            }
            for name in ("uncertainty", "diversity", "pool")
        }
        for name, other in (("pool", "a random batch's"), ("diversity", "the diversity batch's")):
            label = f"cycle {cycle}: mean distance of the uncertainty batch minus {other}"
            if of["uncertainty"].keys() & of[name].keys():
                found.append(paired(label, of["uncertainty"], of[name]))
    return found


def albums(run: Run) -> list[dict[str, Any]]:
    """Returns the images of each cycle that has a gallery, by the strategies that selected them."""
    loss = run.config["uncertainty"] == "learning_loss"
    albums = []
    for (trial, cycle), kept in run.galleries.items():
        groups = []
        for who, key, title in GROUPS:
            rows = [row for row, position in enumerate(kept.shown) if kept.group[position] == who]
            images = [
                {
                    "source": data_uri(kept.images[row]) if len(kept.images) else "",
                    "class": str(kept.class_names[kept.labels[kept.shown[row]]]),
                    "score": f"{kept.scores[kept.shown[row]]:.2f}" if len(kept.scores) else "-",
                    "distance": f"{kept.distance[kept.shown[row]]:.2f}",
                }
                for row in rows
            ]
            count = int(np.sum(kept.group == who))
            groups.append({"key": key, "title": title, "count": count, "images": images})
        albums.append(
            {
                "trial": trial,
                "cycle": cycle,
                "figure": f"subpool-cycle-{cycle:02d}",
                "groups": groups,
                "scored": "loss" if loss else "score",
                "meaning": "predicted loss" if loss else "score",
            }
        )
    return albums


def matrices(run: Run) -> list[dict[str, Any]]:
    """Returns the mean C of every pair of strategies, in the first cycle with a model and in the last."""
    cycles = sorted({line["cycle"] for line in run.pairs if line["cycle"] > 1})
    found = []
    for cycle in cycles[:1] + cycles[1:][-1:]:
        names, means = summary.pair_means(run.pairs, cycle)
        found.append({"cycle": cycle, "names": names, "means": means.tolist()})
    return found


def timings(run: Run) -> dict[str, Any] | None:
    """Returns the mean seconds per phase and cycle, and the images per second."""
    if not run.timings:
        return None
    present = {name for line in run.timings for name in _phases(line)}
    phases = [name for name in PHASES if name in present] + sorted(present - set(PHASES))
    planned = (run.config.get("train") or {}).get("epochs") or 0
    trained = {place_of(line): (line.get("epochs") or planned) * (line["labeled"] or 0) for line in run.lines}
    rows, rates = [], []
    for cycle in sorted({line["cycle"] for line in run.timings}):
        group = [line for line in run.timings if line["cycle"] == cycle]
        seconds = [float(np.mean([line.get(name) or 0.0 for line in group])) for name in phases]
        speed = [
            trained[place_of(line)] / line["train"]
            for line in group
            if trained[place_of(line)] and line.get("train")
        ]
        rates += speed
        rows.append(
            (
                str(cycle),
                *(f"{value:.2f}" for value in seconds),
                f"{sum(seconds):.1f}",
                f"{np.median(speed):,.0f}" if speed else "-",
            )
        )
    scoring = [
        (line_of["subset_size"] + line_of["labeled"] - line_of["budget"]) / line["score"]
        for line in run.timings
        for line_of in run.lines
        if place_of(line_of) == place_of(line) and line["cycle"] > 1 and line.get("score")
    ]
    return {
        "headings": ("cycle", *phases, "all", "images/s in training"),
        "rows": rows,
        "training": f"{np.median(rates):,.0f}" if rates else "",
        "scoring": f"{np.median(scoring):,.0f}" if scoring else "",
        "device": run.config.get("device", "unknown"),
    }


def explained(shown: Sequence[Run]) -> dict[str, Any] | None:
    """Returns the rank correlations of C with the fit of the models, of several runs."""
    found = explanation.explain(shown) if len(shown) > 1 else None
    if found is None:
        return None
    rows = [
        (
            explanation.MEASURES[row.measure],
            str(row.points),
            str(row.trials),
            *(
                (text.signed(estimate.value), text.interval(estimate.low, estimate.high))
                for estimate in (row.overall, row.within, row.partial)
            ),
        )
        for row in found.rows
    ]
    return {
        "rows": rows,
        "sentences": found.sentences,
        "kinds": explanation.KINDS.values(),
        "method": explanation.METHOD,
    }


def data_uri(image: np.ndarray) -> str:
    """Returns an image [H, W, C] uint8 as a PNG within the page."""
    return "data:image/png;base64," + base64.b64encode(arrays.png(image)).decode()


def _apart(run: Run, cycle: int) -> str:
    """Counts the trials whose overlap is not what chance gives."""
    given = [line.get("p_value") for line in run.lines if line["cycle"] == cycle]
    p_values = [p_value for p_value in given if p_value is not None]
    return f"{sum(p < claims.LEVEL for p in p_values)} of {len(p_values)}"


def _phases(line: Record) -> dict[str, float]:
    return {
        name: value
        for name, value in line.items()
        if name not in ("trial", "cycle") and isinstance(value, int | float)
    }
