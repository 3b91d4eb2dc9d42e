"""Tests of labeling in Label Studio: tasks out, annotations in, and a whole session with a real server."""

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from aljax.errors import InvalidInputError, RunError
from aljax.oracles import web
from aljax.oracles.base import Batch, Progress, Question, Setting, Waiting
from aljax.oracles.label_studio import annotations, backend, client, label_studio, tasks
from aljax.records import journal

CLASSES = ("cat", "dog", 'a "b" & <c>')
SERVER = os.environ.get("LABEL_STUDIO") or shutil.which("label-studio") or ""
WHY = "needs Label Studio (pip install label-studio in an environment of its own; LABEL_STUDIO=its command)"


@pytest.fixture
def setting(tmp_path):
    folder = tmp_path / "all" / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("0.png", "1.png", "2.png", "deep/ä &+3.png", "4.png", "5.png")):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / name)
    (tmp_path / "run").mkdir()
    return Setting(tmp_path / "run", folder, CLASSES, 0, "margin")


def batch_of(setting, cycle, order, guess=""):
    paths = sorted(path for path in setting.images.rglob("*") if path.is_file())
    return Batch(
        cycle,
        tuple(
            Question(
                paths[place].relative_to(setting.images).as_posix(),
                paths[place],
                hashlib.sha256(paths[place].read_bytes()).hexdigest(),
                rank,
                2.0 / rank,
                guess,
                0.75 if guess else 0.0,
                "random" if rank == 2 else "margin",
            )
            for rank, place in enumerate(order, start=1)
        ),
    )


def given(setting):
    return [(one.file, one.answer, one.label) for one in journal.read(setting.workdir)]


def test_a_task_has_the_image_the_order_and_the_guess(setting):
    batch = batch_of(setting, 2, (5, 0, 4), guess="dog")
    made = [tasks.task(one, batch, setting.images.parent) for one in batch.questions]
    assert made[0]["data"]["image"] == "/data/local-files/?d=photos/deep/%C3%A4%20%26%2B3.png"
    assert made[0]["data"]["file"] == "deep/ä &+3.png"
    assert [one["predictions"][0]["score"] for one in made] == [
        1 / 3,
        2 / 3,
        1.0,
    ]  # the lowest is served first
    assert {one["predictions"][0]["model_version"] for one in made} == {"aljax cycle 2"}
    (choice,) = made[0]["predictions"][0]["result"]
    assert choice["value"] == {"choices": ["dog"]}
    assert made[1]["predictions"][0]["result"] == []  # it judges the model: no guess is to sway the answer


def test_the_labeling_config_names_every_class():
    root = ElementTree.fromstring(tasks.labeling_config((*CLASSES, *"0123456789")))
    choices = {one.get("value"): one.get("hotkey") for one in root.iter("Choice")}
    assert list(choices) == [*CLASSES, *"0123456789", "unsure"]
    assert [choices[name] for name in CLASSES] == ["1", "2", "3"]
    assert (choices["5"], choices["6"], choices["unsure"]) == ("9", None, "u")


def annotation(number, label=None, time="2026-01-01T00:00:01Z", **fields):
    result = []
    if label is not None:
        name = "doubt" if label == "unsure" else "label"
        result = [{"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
    made = {"id": number, "result": result, "was_cancelled": False, "lead_time": 2.5, "completed_by": 1}
    return {**made, "created_at": time, "updated_at": time, **fields}


def export(path, *of_tasks):
    data = {"sha256": "ab" * 32, "cycle": 1}
    content = [{"data": {**data, "file": file}, "annotations": list(given)} for file, *given in of_tasks]
    path.write_text(json.dumps(content))
    return path


def test_annotations_of_the_export_json(tmp_path):
    path = export(
        tmp_path / "export.json",
        (
            "a",
            annotation(1, "cat"),
            annotation(4, "dog", "2026-01-01T00:00:09Z", completed_by={"email": "b@c"}),
        ),
        ("b", annotation(2, was_cancelled=True)),
        ("c", annotation(3, "unsure", lead_time=None)),
        ("d", annotation(5)),  # nothing was chosen
        ("e",),
    )
    found = annotations.read(path, CLASSES)
    assert [(one.file, one.answer, one.label, one.who, one.seconds) for one in found] == [
        ("a", "label", "cat", "annotator 1", 2.5),
        ("a", "label", "dog", "b@c", 2.5),
        ("b", "skip", "", "annotator 1", 2.5),
        ("c", "unsure", "", "annotator 1", 0.0),
    ]
    assert annotations.new(found, found[:2]) == found[2:]
    assert [one.file for one in annotations.new(reversed(found), [])][-1] == "a"  # the last that was given
    assert {(one.sha256, one.cycle) for one in found} == {("ab" * 32, 1)}


ROW = "a,{sha},1,1,cat,,7,2026-01-01T00:00:01Z,2026-01-01T00:00:02Z,1.25,3\n".format(sha="ab" * 32)
HEADING = "file,sha256,cycle,annotation_id,label,doubt,annotator,created_at,updated_at,lead_time,id\n"


def test_annotations_of_the_exports_csv_and_json_min(tmp_path):
    (tmp_path / "export.csv").write_text("\ufeff" + HEADING + ROW)
    (found,) = annotations.read(tmp_path / "export.csv", CLASSES)
    assert found == journal.Answer(
        "a", "ab" * 32, "label", "cat", 1, "annotator 7", 1.25, "2026-01-01T00:00:02Z"
    )
    row = dict(zip(HEADING.strip().split(","), ROW.strip().split(","), strict=True), cycle=1, annotator=7)
    (tmp_path / "min.json").write_text(json.dumps([row, {"file": "b", "annotation_id": None}]))
    assert annotations.read(tmp_path / "min.json", CLASSES) == [found]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "{", "Expecting property name"),
        ("x.json", '{"a": 1}', "not a list of objects"),
        ("x.json", '[{"annotations": [{"result": [], "was_cancelled": true}], "data": {}}]', "lacks 'file'"),
        ("x.csv", HEADING + ROW.replace("cat", "Cat"), "a: label 'Cat': did you mean 'cat'?"),
        ("x.csv", HEADING.replace("sha256", "hash") + ROW, "lacks 'sha256'"),
    ],
)
def test_an_export_that_is_none_is_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInputError) as error:
        annotations.read(tmp_path / name, CLASSES)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_by_files_a_batch_goes_out_and_comes_back(setting, monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    batch = batch_of(setting, 1, (3, 1))
    folder = setting.workdir / "asked" / "label_studio"
    with label_studio(setting) as session:
        with pytest.raises(
            Waiting, match=r"cycle-01\.json: import its 2 tasks into a project of Label Studio"
        ):
            session.ask(batch)
        made = json.loads((folder / "cycle-01.json").read_text())
        for number, one in enumerate(made):
            one["annotations"] = [annotation(number, "dog")]
        (folder / "exports" / "half.json").write_text(json.dumps(made[:1]))
        session.ask(batch)  # a part of a batch is enough
        assert given(setting) == [(batch.questions[0].file, "label", "dog")]
        (folder / "exports" / "all.json").write_text(json.dumps(made))
        session.ask(batch)
        session.ask(batch)  # nothing is entered twice
        session.report(Progress("training", 1, 2, None, None))
    assert sorted(given(setting)) == sorted((one.file, "label", "dog") for one in batch.questions)


def test_the_routes_of_an_ml_backend(setting):
    woken, batch = threading.Event(), batch_of(setting, 3, (0, 1), guess="cat")

    def send(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        found = response.status, json.loads(response.read())
        connection.close()
        return found

    with web.serving(0, backend.responder(lambda: batch, woken)) as port:
        assert send("GET", "/health") == (200, {"status": "UP", "model_class": "aljax"})
        assert send("POST", "/setup", {"project": "1"}) == (200, {"model_version": "aljax cycle 3"})
        asked = [{"data": {"file": file}} for file in ("1.png", "0.png", "other")]
        status, found = send("POST", "/predict", {"tasks": asked})
        assert (status, found["model_version"]) == (200, "aljax cycle 3")
        assert [one["score"] for one in found["results"]] == [1.0, 0.5, 1.0]
        assert [len(one["result"]) for one in found["results"]] == [0, 1, 0]
        assert send("POST", "/predict", {"tasks": 1})[0] == 400
        assert not woken.is_set()
        assert send("POST", "/webhook", {"action": "ANNOTATION_CREATED"}) == (201, {})
        assert woken.is_set()
        assert send("GET", "/train")[0] == 404


def test_a_server_that_does_not_answer_is_named(setting, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="no Label Studio answers"), label_studio(setting):
        pass
    monkeypatch.setenv("LABEL_STUDIO_URL", "localhost:8080")
    with (
        pytest.raises(InvalidInputError, match="LABEL_STUDIO_URL='localhost:8080': accepted"),
        label_studio(setting),
    ):
        pass


def test_a_personal_access_token_is_renewed():
    seen = []

    def respond(request):
        seen.append((request.path, request.headers.get("Authorization")))
        if request.path == "/api/token/refresh":
            assert web.json_of(request) == {"refresh": "a.b.c"}
            return web.json_reply({"access": f"access {len(seen)}"})
        if request.headers["Authorization"] == "Bearer access 1" and len(seen) > 2:
            raise web.StatusError(401, "expired")
        if request.path == "/none":
            raise web.StatusError(404, "no such page")
        return web.json_reply({"a": 1})

    with web.serving(0, respond) as port:
        server = client.Client(f"http://127.0.0.1:{port}/", "a.b.c")
        for _ in range(2):
            assert server.call("GET", "/x") == {"a": 1}
        with pytest.raises(client.MissingError, match=r"/none: 404 .*no such page"):
            server.call("GET", "/none")
    assert [path for path, _ in seen] == [
        "/api/token/refresh",
        "/x",
        "/x",
        "/api/token/refresh",
        "/x",
        "/none",
    ]


# ---- with a real server

KEY = "0123456789abcdef0123456789abcdef01234567"


class Person:
    """Labels through Label Studio's API, as its page does."""

    def __init__(self, url):
        self.url = url

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Token {KEY}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()

    def next(self, project):
        return json.loads(self.call("GET", f"/api/projects/{project}/next"))

    def annotate(self, task, **fields):
        return json.loads(self.call("POST", f"/api/tasks/{task['id']}/annotations/", fields))


@pytest.fixture
def server(tmp_path, setting):
    if not SERVER:
        pytest.skip(WHY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [SERVER, "start", "test", "--init", "-b", "--internal-host", "127.0.0.1", "-p", str(port)]
    command += ["--data-dir", os.environ.get("LABEL_STUDIO_DATA", str(tmp_path / "data"))]
    command += ["--username", "ann@b.example", "--password", "Secret-123x", "--user-token", KEY]
    command += ["--enable-legacy-api-token"]
    names = ["ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED", "COLLECT_ANALYTICS", "LATEST_VERSION_CHECK"]
    environment = {**os.environ, "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", **dict.fromkeys(names, "False")}
    environment |= {"LOCAL_FILES_SERVING_ENABLED": "true", "DJANGO_DB": "sqlite"}
    environment |= {"LOCAL_FILES_DOCUMENT_ROOT": str(setting.images.parent)}
    environment.pop("PYTHONPATH", None)
    with open(tmp_path / "server.log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    person = Person(f"http://127.0.0.1:{port}")
    try:
        for _ in range(600):
            try:
                person.call("GET", "/api/version")
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
                time.sleep(1)
        yield person
    finally:
        process.kill()
        process.wait()


def choice(label):
    return annotation(0, label)["result"]


@pytest.mark.label_studio
def test_a_session_with_label_studio_itself(server, setting, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "wrong")
    with pytest.raises(InvalidInputError, match="LABEL_STUDIO_API_KEY: refused"), label_studio(setting):
        pass
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", KEY)

    first, second = batch_of(setting, 1, (3, 0, 5, 1)), batch_of(setting, 2, (4, 2), guess="dog")
    with label_studio(setting) as session:
        run = threading.Thread(target=session.ask, args=(first,), daemon=True)
        run.start()
        project = json.loads((setting.workdir / "asked/label_studio/project.json").read_text())["project"]
        while json.loads(server.call("GET", f"/api/projects/{project}"))["model_version"] != "aljax cycle 1":
            time.sleep(0.1)
        backends = json.loads(server.call("GET", f"/api/ml?project={project}"))
        assert [one["state"] for one in backends] == ["CO"]  # connected: health and setup were answered
        served = []
        for fields in (
            {"result": choice("cat"), "lead_time": 1.5},
            {"result": [], "was_cancelled": True, "lead_time": 0.5},
            {"result": choice("unsure")},
            {"result": choice(CLASSES[2])},
        ):
            task = server.next(project)
            image = server.call("GET", task["data"]["image"])
            assert hashlib.sha256(image).hexdigest() == task["data"]["sha256"]
            served.append((task["data"]["file"], server.annotate(task, **fields)["id"]))
        assert [file for file, _ in served] == [one.file for one in first.questions]  # in aljax's order
        run.join(30)
        assert not run.is_alive()
        kinds = [("label", "cat"), ("skip", ""), ("unsure", ""), ("label", CLASSES[2])]
        assert given(setting) == [(file, *kind) for (file, _), kind in zip(served, kinds, strict=True)]
        assert [one.seconds for one in journal.read(setting.workdir)] == [1.5, 0.5, 0.0, 0.0]
        assert {one.who for one in journal.read(setting.workdir)} == {"ann@b.example"}

        server.call("PATCH", f"/api/annotations/{served[0][1]}", {"result": choice("dog")})  # a correction
        run = threading.Thread(target=session.ask, args=(second,), daemon=True)
        run.start()
        while json.loads(server.call("GET", f"/api/projects/{project}"))["model_version"] != "aljax cycle 2":
            time.sleep(0.1)
        task = server.next(project)
        assert task["data"]["file"] == second.questions[0].file
        server.annotate(task, result=choice("cat"))
        time.sleep(1)
        assert run.is_alive()

    with label_studio(setting) as session:  # another start goes on in the same project
        run = threading.Thread(target=session.ask, args=(second,), daemon=True)
        run.start()
        task = server.next(project)
        assert task["data"]["file"] == second.questions[1].file
        server.annotate(task, result=choice("dog"))
        run.join(30)
        assert not run.is_alive()
    assert len(given(setting)) == 7
    standing = journal.standing(journal.read(setting.workdir))
    assert standing[served[0][0]].label == "dog"

    for kind, name in (("JSON", "a.json"), ("JSON_MIN", "b.json"), ("CSV", "c.csv")):
        path = setting.workdir / name
        path.write_bytes(server.call("GET", f"/api/projects/{project}/export?exportType={kind}"))
        found = {one.file: one for one in annotations.read(path, CLASSES)}
        expected = {
            file: one for file, one in standing.items() if one.answer != "skip" or kind == "JSON"
        }  # the others leave skips out
        assert {file: (one.answer, one.label, one.seconds, one.sha256) for file, one in found.items()} == {
            file: (one.answer, one.label, one.seconds, one.sha256) for file, one in expected.items()
        }
    print(f"Label Studio: {len(given(setting))} answers in project {project}, served in aljax's order")
