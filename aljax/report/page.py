"""What a report says of a run beside its figures: texts and numbers, ready for the page."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aljax import pairs
from aljax.config import flatten
from aljax.records import diagnostics, summary
from aljax.records import reader as runs
from aljax.records.files import Record
from aljax.records.reader import Run, get
from aljax.report import claims as verdict

GROUPS = (
    (diagnostics.BOTH, "both", "selected by both"),
    (diagnostics.UNCERTAINTY, "uncertainty", "only by uncertainty"),
    (diagnostics.DIVERSITY, "diversity", "only by diversity"),
)
PHASES = ("recover", "score", "select", "diagnose", "record", "train", "evaluate")


def view(run: Run) -> dict[str, Any]:
    """What the page says of one run, as texts and numbers ready to be shown."""
    config = run.config
    rows = summary.summarize(run.lines)
    return {
        "name": run.path.resolve().name,
        "config": config,
        "fields": flatten(config),
        "done": len(run.lines),
        "planned": config["trials"] * config["cycles"],
        "unfinished": runs.unfinished(run),
        "stopped": runs.stopped(run),
        "missing": run.missing,
        "cards": cards(run, rows),
        "title": summary.title(rows) if rows else "",
        "headings": (*summary.HEADINGS, "trials not by chance"),
        "rows": [
            (*texts, _apart(run, row["cycle"])) for texts, row in zip(summary.cells(rows), rows, strict=True)
        ],
        "claims": verdict.claims(config, run.lines),
        "departures": verdict.departures(config) if verdict.bands(config) else [],
        "why": why(run),
        "gaps": gaps(run),
        "albums": albums(run),
        "pairs": matrices(run),
        "timings": timings(run),
    }


def cards(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """The few numbers to see first: a name, the number, and what it is of."""
    if not rows:
        return []
    last = rows[-1]
    area = summary.area_under_curve(run.lines)
    shown = [
        ("C at the end", summary.plus_minus(last["C"], "+.2f"), f"cycle {last['cycle']}"),
        (
            "accuracy at the end",
            summary.plus_minus(last["accuracy"], ".1f", 100) + " %",
            f"{last['labeled']:,} labels",
        ),
    ]
    if len(rows) > 2:
        shown.insert(0, ("C with the first model", summary.plus_minus(rows[1]["C"], "+.2f"), "cycle 2"))
    if area["mean"] is not None:
        shown.append(
            (
                "area under the accuracy curve",
                summary.plus_minus(area, ".1f", 100) + " %",
                "mean height over labels",
            )
        )
    if run.timings:
        seconds = sum(sum(_phases(line).values()) for line in run.timings)
        shown.append(("time", duration(seconds), str(run.config.get("device", ""))))
    return shown


def why(run: Run) -> dict[str, Any] | None:
    """What diagnostics.jsonl says per cycle, as a table: means over trials ± standard deviation."""
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
                    summary.plus_minus(summary.spread(get(line, *path) for line in group), form)
                    for *path, form in columns
                ),
            )
        )
    return {"rows": rows, "most": f"{math.log(len(run.diagnostics[0]['classes']['pool'])):.2f}"}


def gaps(run: Run) -> list[verdict.Difference]:
    """Whether the uncertainty batch lies apart from others, in the first and last cycle with a model."""
    measured = [line for line in run.diagnostics if line.get("distance")]
    cycles = sorted({line["cycle"] for line in measured})
    found = []
    for cycle in cycles[:1] + cycles[1:][-1:]:
        of = {
            name: {
                line["trial"]: line["distance"][name]
                for line in measured
                if line["cycle"] == cycle and line["distance"][name] is not None
            }
            for name in ("uncertainty", "diversity", "pool")
        }
        for name, other in (("pool", "a random batch's"), ("diversity", "the diversity batch's")):
            text = f"cycle {cycle}: mean distance of the uncertainty batch minus {other}"
            if of["uncertainty"].keys() & of[name].keys():
                found.append(verdict.paired(text, of["uncertainty"], of[name]))
    return found


def differences(shown: Sequence[Run]) -> list[verdict.Difference]:
    """Whether each further run differs from the first, trial by trial."""
    names = runs.names(shown)
    found = []
    for name, run in list(zip(names, shown, strict=True))[1:]:
        first = shown[0]
        for measure, label in (("accuracy", "accuracy"), ("C", "C")):
            series = [summary.by_trial(one.lines, measure) for one in (run, first)]
            cycles = [{cycle for values in of.values() for cycle in values} for of in series]
            shared = cycles[0] & cycles[1]
            if not shared or (measure == "accuracy" and not same_data(run, first)):
                continue
            at = max(shared)
            a, b = ({trial: values[at] for trial, values in of.items() if at in values} for of in series)
            found.append(verdict.paired(f"{label} at cycle {at}: {name} minus {names[0]}", a, b))
    return found


def same_data(a: Run, b: Run) -> bool:
    """Whether two runs are of the same images, as far as their configs know."""
    known = a.config["dataset"].keys() & b.config["dataset"].keys()
    return all(a.config["dataset"][name] == b.config["dataset"][name] for name in known)


def albums(run: Run) -> list[dict[str, Any]]:
    """The images of each cycle that has a gallery, by who selected them."""
    loss = run.config["uncertainty"] == "learning_loss"
    albums = []
    for (trial, cycle), kept in run.galleries.items():
        groups = []
        for who, key, title in GROUPS:
            rows = [row for row, position in enumerate(kept.shown) if kept.group[position] == who]
            images = [
                {
                    "source": data_uri(kept.images[row]),
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
    """C of every pair of strategies, in the first cycle with a model and the last: means over trials."""
    cycles = sorted({line["cycle"] for line in run.pairs if line["cycle"] > 1})
    found = []
    for cycle in cycles[:1] + cycles[1:][-1:]:
        names, means = pairs.matrix(run.pairs, cycle)
        found.append({"cycle": cycle, "names": names, "means": means.tolist()})
    return found


def timings(run: Run) -> dict[str, Any] | None:
    """Mean seconds per phase and cycle, and images per second."""
    if not run.timings:
        return None
    present = {name for line in run.timings for name in _phases(line)}
    phases = [name for name in PHASES if name in present] + sorted(present - set(PHASES))
    labeled = {(line["trial"], line["cycle"]): line["labeled"] for line in run.lines}
    epochs = (run.config.get("train") or {}).get("epochs")
    rows, rates = [], []
    for cycle in sorted({line["cycle"] for line in run.timings}):
        group = [line for line in run.timings if line["cycle"] == cycle]
        seconds = [float(np.mean([line.get(name, 0.0) for line in group])) for name in phases]
        speed = [
            epochs * labeled[line["trial"], line["cycle"]] / line["train"]
            for line in group
            if epochs and line.get("train")
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
        if (line_of["trial"], line_of["cycle"]) == (line["trial"], line["cycle"])
        and line["cycle"] > 1
        and line.get("score")
    ]
    return {
        "headings": ("cycle", *phases, "all", "images/s in training"),
        "rows": rows,
        "training": f"{np.median(rates):,.0f}" if rates else "",
        "scoring": f"{np.median(scoring):,.0f}" if scoring else "",
        "device": run.config.get("device", "unknown"),
    }


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"


def data_uri(image: np.ndarray) -> str:
    """An image [H, W, C] uint8 as a PNG within the page."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _apart(run: Run, cycle: int) -> str:
    """In how many trials the overlap is not what chance gives."""
    given = [line.get("p_value") for line in run.lines if line["cycle"] == cycle]
    p_values = [p_value for p_value in given if p_value is not None]
    return f"{sum(p < verdict.LEVEL for p in p_values)} of {len(p_values)}"


def _phases(line: Record) -> dict[str, float]:
    return {
        name: value
        for name, value in line.items()
        if name not in ("trial", "cycle") and isinstance(value, int | float)
    }
