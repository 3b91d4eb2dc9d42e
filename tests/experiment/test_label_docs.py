"""The commands of docs/label.md, in their order, on a folder of small images."""

import ast
import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aljax import cli
from aljax.cli import run as command
from aljax.records import files
from tests.harness import tiny

DOC = Path(__file__).parents[2] / "docs" / "label.md"
CLASSES = ("red", "green", "blue")
FIELDS = {
    "dataset.image_size": 8,
    "train.pad": 1,
    "train.min_steps": 8,
    "train.epochs": 1,
    "train.detach_epoch": 0.5,
}
FIELDS |= {"budget": 20, "subset_size": 30, "cycles": 2, "validation_fraction": 0.25}


def blocks():
    return re.findall(r"<!-- runs -->\n```(\w*)\n(.*?)```", DOC.read_text(), re.DOTALL)


def paint(path, number):
    pixels = np.random.default_rng(number).integers(0, 90, (8, 8, 3))
    pixels[..., number % 3] += 100
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Makes the folders that the page names, and the study so small that it takes moments."""
    for number in range(100):
        paint(tmp_path / "PHOTOS" / f"{number}.png", number)
    for number in (1, 2):
        paint(tmp_path / "OTHERS" / f"{number}.png", number)
    small = tiny(tmp_path / "network", **FIELDS)
    small = {name: value for name, value in small.items() if not name.startswith(("dataset.", "trials"))}
    small = {name: value for name, value in small.items() if not name.startswith("model.")}
    small["dataset.image_size"] = 32  # of lite0, that the config asks for

    def overridden(config, given, original=command.overridden):
        config = original(config, given)
        for name, value in small.items():
            group, _, last = name.rpartition(".")
            (config[group] if group else config)[last] = value
        return config

    monkeypatch.setattr(command, "overridden", overridden)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(path):
    """Answers the questions of a file, each by its number."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = [CLASSES[int(row["file"].removesuffix(".png")) % 3] for row in rows]
    path.write_text(
        "label;file\n" + "".join(f"{a};{row['file']}\n" for a, row in zip(labels, rows, strict=True))
    )


def test_the_commands_of_the_page_do_what_it_says(place, capsys):
    (_, label), *others = blocks()
    for cycle in (1, 2):
        assert cli.main(shlex.split(label)[1:]) == 0
        assert "fill in the column label" in capsys.readouterr().out
        fill(place / "runs" / "photos" / "asked" / f"cycle-{cycle:02d}.csv")
    assert cli.main(shlex.split(label)[1:]) == 0
    for language, text in others:
        if language == "python":
            exec(text, {})  # the five lines
            printed = ast.literal_eval(capsys.readouterr().out)
            continue
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == "aljax"
            assert cli.main(words) == 0, line
            capsys.readouterr()
    for name in ("predictions.csv", "others.csv", "labels.csv", "tasks.json", "runs/photos/asked/review.csv"):
        assert (place / name).is_file()
    with (place / "others.csv").open(newline="", encoding="utf-8") as file:
        assert printed == [row["label"] for row in csv.DictReader(file)]
    assert set(printed) <= set(CLASSES)
    assert sorted(path.name for path in (place / "sorted" / "train").iterdir()) == sorted(CLASSES)
    for name in ("margin", "core_set", "random"):
        (workdir,) = (place / "runs" / "photos" / "simulation").glob(f"*/{name}")
        assert len(files.read_lines(workdir / "cycles.jsonl")[0]) >= 2


def test_the_page_names_the_files_of_a_run_directory(place):
    named = set(re.findall(r"^\| `([\w./-]+)`", DOC.read_text(), re.MULTILINE))
    assert {"labels.jsonl", "images.csv", "changes.jsonl", "model.npz"} <= named
