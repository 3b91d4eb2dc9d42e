"""Talks to a Label Studio server: a dozen calls of its REST API, for which its SDK (with pandas, opencv and
forty other packages) would be too much.
"""

import contextlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from aljax.errors import InvalidInputError, RunError
from aljax.oracles.base import Batch
from aljax.oracles.label_studio import annotations, tasks

PATIENCE = 60  # seconds that a call may take
TITLE = "aljax"
HOOK = r"http://127\.0\.0\.1:\d+/webhook"  # as aljax makes them


class MissingError(RunError):
    """Reports that a server has no such thing."""


class Client:
    """A server, and the access to it."""

    def __init__(self, url: str, key: str):
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"LABEL_STUDIO_URL={url!r}: accepted: http://HOST:PORT of a Label Studio")
        self.url, self._key = url.rstrip("/"), key
        self._access = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Sends a request; returns what the response's JSON holds.

        Raises:
          InvalidInputError: if the server refuses the access.
          RunError: if it does not answer, or refuses the request.
        """
        try:
            return self._send(method, path, body)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise InvalidInputError(
                    f"LABEL_STUDIO_API_KEY: refused by {self.url} ({error.code}); accepted: an access token "
                    "of its Account & Settings"
                ) from error
            said = " ".join(error.read(500).decode("utf-8", "replace").split())
            kind = MissingError if error.code == 404 else RunError
            raise kind(f"{self.url}{path}: {error.code} {said}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise RunError(f"{self.url}: no Label Studio answers ({reason})") from error

    def _send(self, method: str, path: str, body: Any) -> Any:
        try:
            return self._request(method, path, body, self._authorization())
        except urllib.error.HTTPError as error:
            if error.code != 401 or not self._access:
                raise
            self._access = ""  # it lasts five minutes
            return self._request(method, path, body, self._authorization())

    def _authorization(self) -> str:
        """Returns the header of a legacy token, or of a personal access token, which is renewed."""
        if self._key.count(".") != 2:
            return f"Token {self._key}"
        if not self._access:
            self._access = self._request("POST", "/api/token/refresh", {"refresh": self._key}, "")["access"]
        return f"Bearer {self._access}"

    def _request(self, method: str, path: str, body: Any, authorization: str) -> Any:
        headers = {"Authorization": authorization} if authorization else {}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            received = response.read()
        return json.loads(received) if received else None


def project(client: Client, number: int | None, name: str, class_names: tuple[str, ...]) -> int:
    """Returns the project of a run: the one of this number, if there is one, or a new one."""
    settings = {"label_config": tasks.labeling_config(class_names), "sampling": tasks.SAMPLING}
    if number is not None:
        with contextlib.suppress(MissingError):
            client.call("PATCH", f"/api/projects/{number}", settings)
            return number
    return client.call(
        "POST",
        "/api/projects",
        {
            **settings,
            "title": f"{TITLE} {name}"[:50],
            "description": "Images that aljax asks about, in its order.",
            "show_collab_predictions": False,  # a guess that is seen first sways the answer
            "skip_queue": "IGNORE_SKIPPED",  # a skip is an answer
            "enable_empty_annotation": False,
        },
    )["id"]


def store(client: Client, number: int, folder: Path) -> None:
    """Lets the project serve the images of a folder from the server's own disk.

    Raises:
      RunError: if the server does not serve local files, or not those of the folder.
    """
    path = str(folder.resolve())
    known = client.call("GET", f"/api/storages/localfiles?project={number}")
    if path in [one["path"] for one in known]:
        return
    storage = {"project": number, "title": TITLE, "path": path, "use_blob_urls": True, "regex_filter": "^$"}
    try:
        client.call("POST", "/api/storages/localfiles", storage)
    except RunError as error:
        raise RunError(
            f"{error}; start Label Studio with LOCAL_FILES_SERVING_ENABLED=true and "
            f"LOCAL_FILES_DOCUMENT_ROOT={folder.resolve().parent}"
        ) from error


def send(client: Client, number: int, batch: Batch, root: Path) -> None:
    """Makes the tasks of a batch that the project lacks, and serves them in its order from now on."""
    listed = client.call("GET", f"/api/tasks?project={number}&fields=all&page_size=100000")["tasks"]
    known = {(one["data"].get("file"), one["data"].get("cycle")) for one in listed}
    missing = [
        tasks.task(one, batch, root) for one in batch.questions if (one.file, batch.cycle) not in known
    ]
    if missing:
        client.call("POST", f"/api/projects/{number}/import", missing)
    client.call("PATCH", f"/api/projects/{number}", {"model_version": tasks.version(batch.cycle)})


def annotated(client: Client, number: int) -> list[dict[str, Any]]:
    """Returns aljax's tasks that have annotations, with them."""
    exported = client.call("GET", f"/api/projects/{number}/export?exportType=JSON")
    return [one for one in exported if all(name in one["data"] for name in annotations.DATA)]


def users(client: Client) -> Mapping[int, str]:
    """Returns the names of the server's users, by id."""
    return {
        one["id"]: one.get("email") or one.get("username", "") for one in client.call("GET", "/api/users")
    }


@contextlib.contextmanager
def connected(client: Client, number: int, url: str) -> Iterator[None]:
    """Makes aljax the project's ML backend while this lasts; annotations are polled where that cannot be."""
    made: list[str] = []
    try:
        for kind in ("ml", "webhooks"):  # of a start that was killed
            for one in client.call("GET", f"/api/{kind}?project={number}"):
                if one.get("title") == TITLE or re.fullmatch(HOOK, one["url"]):
                    client.call("DELETE", f"/api/{kind}/{one['id']}")
        body = {"project": number, "url": url, "title": TITLE}
        made.append(f"/api/ml/{client.call('POST', '/api/ml', body)['id']}")
        hook = {"project": number, "url": f"{url}/webhook", "send_payload": False, "is_active": True}
        events = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]
        hook |= {"send_for_all_actions": False, "actions": events}
        made.append(f"/api/webhooks/{client.call('POST', '/api/webhooks', hook)['id']}")
    except RunError as error:
        logging.warning("%s; annotations are looked for without an ML backend", error)
    try:
        yield
    finally:
        for path in made:
            with contextlib.suppress(RunError, InvalidInputError):
                client.call("DELETE", path)
