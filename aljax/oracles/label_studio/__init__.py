"""An oracle that asks in Label Studio: a running one, or by files that are carried to it and back.

With LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY in the environment it talks to that server: a project of its
own, the images from the server's local storage (LOCAL_FILES_DOCUMENT_ROOT, by default the folder above the
images), each batch as tasks in aljax's order; annotations are taken as they come. Without, a batch is written
to RUN/asked/label_studio/, and exports that lie in its folder `exports` are read.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from absl import logging

from aljax.errors import InvalidInputError, RunError
from aljax.oracles import web
from aljax.oracles.base import Batch, Progress, Session, Setting, Waiting
from aljax.oracles.label_studio import annotations, backend, client, tasks
from aljax.records import files, journal
from aljax.records.journal import Answer

FOLDER = Path("asked") / "label_studio"
EXPORTS, CONFIG, PROJECT = "exports", "labeling_config.xml", "project.json"
POLL = 2.0  # seconds between looks for annotations, where no webhook tells of one


@contextlib.contextmanager
def label_studio(setting: Setting) -> Iterator[Session]:
    """Asks in Label Studio; yields the session.

    Raises:
      InvalidInputError: if there is no such server, or it refuses the access.
      RunError: if it cannot serve the images.
    """
    root = Path(os.environ.get("LOCAL_FILES_DOCUMENT_ROOT") or setting.images.resolve().parent)
    url = os.environ.get("LABEL_STUDIO_URL", "")
    if url:
        server = client.Client(url, os.environ.get("LABEL_STUDIO_API_KEY", ""))
        with live(setting, server, root) as session:
            yield session
    else:
        yield Session(lambda batch: ask_by_files(setting, batch, root), report)


def report(progress: Progress) -> None:
    """Shows nothing: Label Studio has no place for it."""


def ask_by_files(setting: Setting, batch: Batch, root: Path) -> None:
    """Writes the tasks of a batch, and takes what exports hold; raises Waiting if none is of this batch."""
    folder = setting.workdir / FOLDER
    (folder / EXPORTS).mkdir(parents=True, exist_ok=True)
    out = folder / f"cycle-{batch.cycle:02d}.json"
    made = [tasks.task(question, batch, root) for question in batch.questions]
    files.write(out, json.dumps(made, indent=1, ensure_ascii=False).encode() + b"\n")
    files.write(folder / CONFIG, tasks.labeling_config(setting.class_names).encode())
    for path in sorted((folder / EXPORTS).iterdir()):
        if path.suffix.lower() in (".json", ".csv"):
            take(setting, annotations.read(path, setting.class_names))
    count, total = left(setting, batch), len(batch.questions)
    if count == total:
        raise Waiting(
            f"{out}: import its {total} tasks into a project of Label Studio with {CONFIG}, label them, and "
            f"put the export (JSON, JSON_MIN or CSV) into {folder / EXPORTS}; then the same command goes on"
        )
    if count:  # as JSON_MIN and CSV leave out what was skipped
        logging.info("%s: %d of %d tasks have an answer", out, total - count, total)


@contextlib.contextmanager
def live(setting: Setting, server: client.Client, root: Path) -> Iterator[Session]:
    """Talks to a running Label Studio; yields the session."""
    path = setting.workdir / FOLDER / PROJECT
    number = client.project(
        server, _known(path, server.url), setting.workdir.resolve().name, setting.class_names
    )
    files.write(path, json.dumps({"url": server.url, "project": number}).encode() + b"\n")
    client.store(server, number, setting.images)
    asked, woken = [Batch(0, ())], threading.Event()

    def look() -> int:
        labeled, names = client.annotated(server, number), client.users(server)
        try:
            take(setting, annotations.from_tasks(labeled, setting.class_names, names))
        except ValueError as error:
            raise InvalidInputError(f"{server.url}/projects/{number}: {error}") from error
        return left(setting, asked[0])

    def ask(batch: Batch) -> None:
        asked[0] = batch
        client.send(server, number, batch, root)
        print(f"label at {server.url}/projects/{number}/data?labeling=1", flush=True)
        lost = False
        while True:
            woken.clear()
            try:
                if not look():
                    return
                lost = False
            except RunError as error:
                if not lost:  # once; Label Studio keeps what is answered meanwhile
                    logging.warning("%s; aljax goes on when it is back", error)
                lost = True
            woken.wait(POLL)

    with (
        web.serving(setting.port, backend.responder(lambda: asked[0], woken)) as port,
        client.connected(server, number, f"http://{web.LOOPBACK}:{port}"),
    ):
        yield Session(ask, report)


def _known(path: Path, url: str) -> int | None:
    """Returns the project of this run on a server, if it has one."""
    if not path.exists():
        return None
    try:
        known = json.loads(files.read(path))
        return int(known["project"]) if known["url"] == url else None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path}: not as aljax wrote it; accepted: that file, or none for a new project"
        ) from error


def take(setting: Setting, found: Iterable[Answer]) -> None:
    """Enters answers into the journal that are not there yet."""
    fresh = annotations.new(found, journal.read(setting.workdir))
    if fresh:
        journal.append(setting.workdir, *fresh)


def left(setting: Setting, batch: Batch) -> int:
    """Counts the questions without an answer of this cycle that stands."""
    standing = journal.standing(one for one in journal.read(setting.workdir) if one.cycle == batch.cycle)
    return sum(question.file not in standing for question in batch.questions)
