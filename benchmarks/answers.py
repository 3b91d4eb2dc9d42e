"""Kills runs while someone answers on the labeling page, for `benchmarks.faults`.

Answers are POSTed to the page as a browser does it. One that was replied to with 200 must be in the journal
for good; one that was on its way when the process was killed may be, and is given again if it is not.
"""

import json
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from aljax.records import journal
from tests.harness import results, tiny

CLASSES = ("dark", "bright")
IMAGES = 40
BEGIN = "label at "  # the line with the page's address
SIGKILL = 9


class Page(NamedTuple):
    """A labeling page that is served."""

    address: str
    token: str

    def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns the reply to a GET, or to a POST of JSON.

        Raises:
          OSError, HTTPException: if there is none, or another than 200.
        """
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers)
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)


def photographs(folder: Path) -> dict[str, str]:
    """Makes unlabeled images; returns the class of each by name."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    truth = {}
    for number in range(IMAGES):
        pixels = rng.integers(0, 100, (8, 8), np.uint8) + np.uint8(150 * (number % 2))
        truth[f"{number:02d}.png"] = CLASSES[number % 2]
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return truth


def begin(studies: Any, workdir: Path, photos: Path) -> Any:
    """Starts `aljax run` with the page, or goes on with it."""
    from aljax.cli import run

    fields = tiny(
        studies.scratch,
        budget=6,
        cycles=3,
        subset_size=20,
        **{
            "dataset.images": 0,
            "dataset.classes": 0,
            "dataset.data_dir": photos,
            "dataset.class_names": str(CLASSES),
            "dataset.encoder": "",
            "dataset.image_size": 8,
            "dataset.channels": 1,
            "initial.strategy": "random",
            "train.optimizer": "sgd",
        },
    )
    settings = [f"--config.{name}={value}" for name, value in fields.items() if name != "trials"]
    return studies.of(lambda: run.main(["--config=configs/label.py", f"--workdir={workdir}", *settings]))


def page_of(process: Any) -> Page | None:
    """Returns the page that a process serves, if it does by now."""
    said = process.log.read_text() if process.log.exists() else ""
    for line in said.splitlines(keepends=True):
        if line.startswith(BEGIN) and line.endswith("\n"):
            url = urlsplit(line.removeprefix(BEGIN).strip())
            return Page(f"{url.scheme}://{url.netloc}", url.fragment)
    return None


def answer(process: Any, truth: dict[str, str], confirmed: list[str], stop: threading.Event) -> None:
    """Answers whatever is asked until the page is gone; adds the files whose answers were confirmed."""
    while not (page := page_of(process)):
        if stop.wait(0.02):
            return
    try:
        while not stop.is_set():
            state = page.call("/state")
            if state["phase"] == "asking" and state["file"]:
                file = state["file"]
                page.call("/answers", {"file": file, "answer": "label", "label": truth[file]})
                confirmed.append(file)
            else:
                time.sleep(0.02)
    except (OSError, HTTPException, ValueError):  # the page was killed, or its run is done
        return


def labeled(studies: Any, workdir: Path, photos: Path, truth: dict[str, str]) -> float:
    """Labels all that a run asks, and leaves it alone; returns the seconds."""
    begun = time.monotonic()
    process, stop = begin(studies, workdir, photos), threading.Event()
    person = threading.Thread(target=answer, args=(process, truth, [], stop))
    person.start()
    status = process.wait()
    stop.set()
    person.join()
    if status != 0:
        raise SystemExit(f"a run that people label: {process.log.read_text()}")
    return time.monotonic() - begun


def kill(studies: Any, count: int, rng: np.random.Generator, found: Counter[str]) -> list[str]:
    """Kills runs that are labeled until there were `count` kills; returns what went wrong."""
    photos = studies.scratch / "photographs"
    truth = photographs(photos)
    alone = studies.scratch / "labeled"
    labeled(studies, studies.scratch / "first", photos, truth)  # compiles
    seconds = labeled(studies, alone, photos, truth)
    wrong: list[str] = []
    while found["killed while someone answers"] < count:
        workdir = studies.scratch / "answers"
        shutil.rmtree(workdir, ignore_errors=True)
        wrong += _killed(studies, workdir, photos, truth, seconds, rng, found)
        found["runs compared"] += 1
        if results(workdir) != results(alone):
            wrong.append("people: the run that was killed differs")
        wrong += [f"people: {problem}" for problem in studies.problems(workdir)]
        print(f"people: {dict(found)}", *wrong, sep="\n", file=sys.stderr, flush=True)
    return wrong


def _killed(
    studies: Any,
    workdir: Path,
    photos: Path,
    truth: dict[str, str],
    seconds: float,
    rng: np.random.Generator,
    found: Counter[str],
) -> list[str]:
    """Kills a run again and again until it is done; returns what went wrong."""
    wrong: list[str] = []
    confirmed: list[str] = []
    while len(wrong) <= 5:
        process = begin(studies, workdir, photos)
        stop = threading.Event()
        person = threading.Thread(target=answer, args=(process, truth, confirmed, stop))
        person.start()
        status = process.wait(rng.exponential(0.5 * seconds))
        if status is None:
            process.send(SIGKILL)
            status = process.wait()
            found["killed while someone answers"] += status == -SIGKILL
        stop.set()
        person.join()
        if process.traceback() or status not in (0, -SIGKILL):
            wrong.append(f"people: status {status}: {process.log.read_text()[-1000:]}")
        given = [one.file for one in journal.read(workdir) if one.answer == "label"]
        lost = [file for file in confirmed if file not in given]
        found["answers confirmed"] += len(confirmed) if status == 0 else 0
        if lost or len(set(given)) != len(given):
            wrong.append(f"people: of {len(confirmed)} answers {lost} were lost; the journal holds {given}")
        if status == 0:
            break
    return wrong
