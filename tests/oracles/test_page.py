"""Tests of the labeling page over HTTP."""

import hashlib
import http.client
import io
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image

from aljax.errors import InvalidInputError, RunError
from aljax.oracles import web
from aljax.oracles.base import Batch, Progress, Question, Setting
from aljax.oracles.page import page
from aljax.oracles.page.state import State, Wish, view
from aljax.records import journal

CLASSES = ("cat", "dog", "<b>bird</b>")


def question(path, folder, rank, guess="", reason="margin"):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = path.relative_to(folder).as_posix()
    return Question(file, path, digest, rank, 1 / rank, guess, 0.5 if guess else 0.0, reason)


@pytest.fixture
def photos(tmp_path):
    """Makes a folder of five images, one with a name that needs escaping."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("0.png", "1.png", "deep/ä &<2>.png", "3.png", "4.png")):
        Image.new("RGB", (4, 3), (number, 0, 0)).save(folder / name)
    return folder


def batch_of(folder, cycle=1, **fields):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return Batch(cycle, tuple(question(path, folder, rank, **fields) for rank, path in enumerate(paths, 1)))


class Client:
    """Talks to a page as a browser does, but for headers that a test changes."""

    def __init__(self, line):
        url = urlsplit(line.removeprefix("label at "))
        self.port, self.token = url.port, url.fragment

    def send(self, method, path, body=None, **headers):
        sent = {
            "Host": f"127.0.0.1:{self.port}",
            "Origin": f"http://127.0.0.1:{self.port}",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent.setdefault("Content-Length", str(len(content or b"")))
        connection.putrequest(method, path, skip_host=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def state(self, query=""):
        status, _, content = self.send("GET", f"/state{query}")
        assert status == 200, content
        return json.loads(content)

    def wait_for(self, phase):
        end = time.monotonic() + 10
        while self.state()["phase"] != phase:
            assert time.monotonic() < end
            time.sleep(0.005)

    def answer(self, file, kind="label", label="cat", query="", **fields):
        label = label if kind == "label" else ""
        entry = {"file": file, "answer": kind, "label": label, **fields}
        status, _, content = self.send("POST", f"/answers{query}", entry)
        return status, json.loads(content)


@contextmanager
def served(folder, workdir, capsys, batch=None, port=0):
    """Serves a batch; yields a client, the session, and the thread in which the run waits."""
    workdir.mkdir(exist_ok=True)
    with page(Setting(workdir, folder, CLASSES, port, "margin")) as session:
        line = capsys.readouterr().out.strip()
        assert line.startswith("label at http://127.0.0.1:")
        client = Client(line)
        run = threading.Thread(target=session.ask, args=(batch or batch_of(folder),), daemon=True)
        run.start()
        client.wait_for("asking")
        yield client, session, run


@pytest.fixture
def asked(photos, tmp_path, capsys):
    with served(photos, tmp_path / "run", capsys) as parts:
        yield parts


def given(workdir):
    return [(one.file, one.answer, one.label) for one in journal.read(workdir)]


def test_the_journal_holds_what_was_answered_and_the_run_goes_on(asked, tmp_path):
    client, session, run = asked
    first = client.state()
    assert (first["done"], first["total"], first["cycle"], first["phase"]) == (0, 5, 1, "asking")
    assert first["classes"] == list(CLASSES)
    steps = [
        ("label", "cat"),
        ("skip", ""),
        ("undo", ""),
        ("unsure", ""),
        ("label", CLASSES[2]),
        ("label", "dog"),
    ]
    pressed = []
    for kind, label in steps:
        state = client.state()
        file = state["undo"][0] if kind == "undo" else state["file"]
        status, after = client.answer(file, kind, label, seconds=1.5)
        assert status == 200
        pressed.append((file, kind, label))
        assert given(tmp_path / "run") == pressed  # on the disk once it is confirmed
        assert after == client.state()
    assert pressed[1][0] == pressed[2][0] == pressed[3][0]  # what is taken back is asked next
    assert client.state()["done"] == 4
    assert run.is_alive()
    last = client.state()["file"]
    client.answer(last, label="dog")
    run.join(5)
    assert not run.is_alive()
    assert client.state()["phase"] == "training"
    assert client.state()["file"] is None
    written = journal.read(tmp_path / "run")
    assert {one.cycle for one in written} == {1}
    assert written[0].seconds == 1.5
    assert written[0].sha256 == batch_of(tmp_path / "photos").questions[0].sha256
    session.report(Progress("training", 1, 3, 0.75, (0.6, 0.85), 0.5))
    shown = client.state()
    assert (shown["labeled"], shown["accuracy"], shown["interval"], shown["share"]) == (
        3,
        0.75,
        [0.6, 0.85],
        0.5,
    )
    session.report(Progress("finished", 1, 3, 0.75, (0.6, 0.85), 1.0))
    assert client.state()["phase"] == "finished"


def test_the_last_answer_can_be_taken_back_while_the_model_trains(asked, tmp_path):
    client, _, run = asked
    for _ in range(5):
        client.answer(client.state()["file"])
    run.join(5)
    (last,) = client.state()["undo"]
    status, state = client.answer(last, "undo")
    assert (status, state["phase"], state["file"], state["done"]) == (200, "asking", last, 4)
    assert client.answer(last, label="dog")[1]["phase"] == "training"
    assert journal.standing(journal.read(tmp_path / "run"))[last].label == "dog"


def test_another_start_goes_on_where_the_first_was_cut_off(photos, tmp_path, capsys):
    with served(photos, tmp_path / "run", capsys) as (client, _, _):
        client.answer("0.png", label="dog")
        client.answer("1.png", "skip")
        first = client.token
    with served(photos, tmp_path / "run", capsys) as (client, _, _):
        assert client.send("GET", "/state", Authorization=f"Bearer {first}")[0] == 401
        state = client.state()
        assert (state["done"], state["file"], state["undo"]) == (2, "3.png", ["1.png"])
        assert client.answer("1.png", "undo")[1]["file"] == "1.png"
    with served(photos, tmp_path / "run", capsys, batch_of(photos, cycle=2)) as (client, _, _):
        assert client.state()["done"] == 0  # answers of an earlier cycle are none to this one's questions


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "headers"),
    [
        (200, "GET", "/", None, {"Authorization": None, "Origin": None}),
        (200, "GET", "/page.js", None, {"Authorization": None, "Origin": None}),
        (200, "GET", "/state", None, {"Origin": None}),
        (
            200,
            "GET",
            "/state",
            None,
            {"Host": "localhost:8000", "Origin": "http://localhost:8000"},
        ),  # forwarded
        (403, "GET", "/", None, {"Host": "evil.example"}),
        (403, "GET", "/state", None, {"Host": "evil.example:80", "Origin": "http://evil.example:80"}),
        (403, "GET", "/state", None, {"Host": "127.0.0.1.evil.example"}),
        (403, "GET", "/state", None, {"Host": "evil@127.0.0.1"}),
        (403, "GET", "/state", None, {"Host": None}),
        (403, "GET", "/state", None, {"Origin": "http://evil.example"}),
        (403, "GET", "/state", None, {"Origin": "null"}),
        (403, "GET", "/state", None, {"Sec_Fetch_Site": "cross-site"}),
        (401, "GET", "/state", None, {"Authorization": None}),
        (401, "GET", "/state", None, {"Authorization": "Bearer "}),
        (401, "GET", "/state", None, {"Authorization": "Bearer é"}),
        (401, "GET", "/image?file=0.png", None, {"Authorization": "Bearer wrong"}),
        (401, "GET", "/../../etc/passwd", None, {"Authorization": None}),
        (404, "GET", "/../../etc/passwd", None, {}),
        (404, "GET", "/server.py", None, {}),
        (404, "GET", "/image?file=../run/config.json", None, {}),
        (404, "GET", "/image?file=", None, {}),
        (400, "GET", "/state?" + "&".join(f"a{i}=1" for i in range(50)), None, {}),
        (404, "POST", "/state", {}, {}),
        (401, "POST", "/answers", {}, {"Authorization": None}),
        (403, "POST", "/answers", {}, {"Origin": "http://localhost:1"}),
        (415, "POST", "/answers", {}, {"Content_Type": "text/plain"}),
        (415, "POST", "/answers", {}, {"Content_Type": "application/x-www-form-urlencoded"}),
        (411, "POST", "/answers", None, {"Content_Length": None}),
        (411, "POST", "/answers", None, {"Content_Length": "-1"}),
        (411, "POST", "/answers", None, {"Transfer_Encoding": "chunked", "Content_Length": None}),
        (413, "POST", "/answers", b" " * (1 << 21), {}),
        (400, "POST", "/answers", b"{", {}),
        (400, "POST", "/answers", b"\xff", {}),
        (400, "POST", "/answers", b"[" * 100_000, {}),
        (501, "PUT", "/answers", {}, {}),
        (501, "OPTIONS", "/answers", None, {}),
    ],
)
def test_who_is_let_in(shared, status, method, path, body, headers):
    client, workdir = shared
    found, sent, content = client.send(method, path, body, **headers)
    assert found == status, content
    assert sent["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in sent["Content-Security-Policy"]
    assert "unsafe" not in sent["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in sent
    if status != 200:
        assert "\n" not in json.loads(content)["error"]
    assert given(workdir) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"file": "9.png"}, "file='9.png': accepted: a file of cycle 1's batch"),
        ({"file": ["0.png"]}, "file=['0.png']"),
        ({"answer": "yes"}, "answer='yes': accepted: label, skip, unsure, undo"),
        ({"label": "cow"}, "label='cow': accepted: cat, dog, <b>bird</b>"),
        ({"label": None}, "label='': accepted"),
        ({"answer": "skip"}, "label='cat': accepted: none"),
        ({"answer": "undo", "label": ""}, "0.png: there is no answer to take back"),
        ({"who": "a\nb"}, "who='a\\nb': accepted: a name"),
        ({"who": "x" * 101}, "accepted: a name of at most 100 letters"),
        ({"seconds": -1}, "seconds=-1: accepted: 0 to 86400"),
        ({"seconds": True}, "seconds=True"),
        ({"seconds": "1"}, "seconds='1'"),
    ],
)
def test_which_answers_are_refused(shared, entry, message):
    client, workdir = shared
    good = {"file": "0.png", "answer": "label", "label": "cat"}
    status, _, content = client.send("POST", "/answers", [good, {**good, **entry}])
    assert status == 400
    assert message in json.loads(content)["error"]
    assert given(workdir) == []  # none of them is taken


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Serves a batch that nobody answers."""
    path = tmp_path_factory.mktemp("shared")
    Image.new("L", (2, 2)).save(path / "0.png")
    (path / "run").mkdir()
    batch = Batch(1, (question(path / "0.png", path, 1),))
    output, sys.stdout = sys.stdout, io.StringIO()
    try:
        with page(Setting(path / "run", path, CLASSES, 0, "margin")) as session:
            client = Client(sys.stdout.getvalue().strip())
            sys.stdout = output
            threading.Thread(target=session.ask, args=(batch,), daemon=True).start()
            client.wait_for("asking")
            yield client, path / "run"
    finally:
        sys.stdout = output


def test_the_guess_is_hidden_until_the_answer_or_by_choice(photos, tmp_path, capsys):
    questions = list(batch_of(photos, guess="dog").questions)
    questions[1] = questions[1]._replace(reason="random")
    with served(photos, tmp_path / "run", capsys, Batch(2, tuple(questions))) as (client, _, _):
        first = client.state()
        assert "guess" not in first["question"]
        assert (first["question"]["reason"], first["question"]["score"]) == ("margin", 1.0)
        assert client.state("?guess=1")["question"]["guess"] == "dog"
        assert [one["file"] for one in client.state("?grid=1")["grid"]] == [
            one.file for one in questions if one.reason == "margin"
        ]
        _, after = client.answer(first["file"], label="cat", query="?guess=1")
        assert (after["last"]["label"], after["last"]["guess"], after["last"]["probability"]) == (
            "cat",
            "dog",
            0.5,
        )
        assert "guess" not in after["question"]  # of an image that judges the model, not even by choice
        assert after["question"]["judges"]


def test_an_image_that_is_asked_about_again_shows_its_answer_and_the_guess():
    one = Question("a.png", Path("a.png"), "ab" * 32, 1, 0.5, "dog", 0.75, "review", "cat")
    state = State(Batch(3, (one,)), (), Progress("asking", 3, 2, None, None), 1)
    shown = view(state, Wish(), "a.png", ())["question"]
    assert (shown["answer"], shown["guess"], shown["probability"]) == ("cat", "dog", 0.75)


def test_a_grid_is_confirmed_and_taken_back_at_once(asked, tmp_path):
    client, _, run = asked
    files = ["0.png", "1.png", "4.png"]
    entries = [{"file": file, "answer": "label", "label": "cat"} for file in files]
    status, _, content = client.send("POST", "/answers", entries)
    assert (status, json.loads(content)["undo"]) == (200, files)
    undo = [{"file": file, "answer": "undo"} for file in files]
    state = json.loads(client.send("POST", "/answers", undo)[2])
    assert (state["done"], state["undo"], state["file"]) == (0, [], "0.png")
    assert len(given(tmp_path / "run")) == 6
    assert run.is_alive()


def test_two_people_see_different_images_and_what_the_other_did(asked, tmp_path):
    client, _, _ = asked
    ann, bob = client.state("?who=Ann"), client.state("?who=Bob")
    assert (ann["file"], bob["file"]) == ("0.png", "1.png")
    assert client.answer("0.png", who="Ann", query="?who=Ann")[1]["file"] == "3.png"
    assert client.state("?who=Bob")["file"] == "1.png"  # it does not move away under a person's hands
    assert client.state("?who=Bob")["done"] == 1
    assert client.state("?who=Bob")["undo"] == []  # Bob's undo does not take back Ann's answer
    client.answer("0.png", label="dog", who="Bob", query="?who=Bob")
    standing = journal.standing(journal.read(tmp_path / "run"))
    assert (standing["0.png"].label, standing["0.png"].who) == ("dog", "Bob")
    assert client.state("?who=Ann")["undo"] == []


def test_a_question_returns_when_a_person_has_left(asked, monkeypatch):
    client, _, _ = asked
    client.state("?who=Ann")
    monkeypatch.setattr("aljax.oracles.page.desk.HELD", 0.0)
    assert client.state("?who=Bob")["file"] == "0.png"


def test_answers_at_once_are_all_kept(photos, tmp_path, capsys):
    with served(photos, tmp_path / "run", capsys) as (client, _, run), ThreadPoolExecutor(8) as threads:
        files = [one.file for one in batch_of(photos).questions] * 8
        assert {status for status, _ in threads.map(client.answer, files)} == {200}
        run.join(5)
        assert not run.is_alive()
    assert sorted(given(tmp_path / "run")) == sorted((file, "label", "cat") for file in files)


def test_a_full_disk_is_reported_and_nothing_is_lost(asked, tmp_path, monkeypatch):
    client, _, _ = asked
    client.answer("0.png")
    with monkeypatch.context() as patched:

        def full(*_):
            raise RunError("labels.jsonl: could not be written (No space left on device)")

        patched.setattr("aljax.records.journal.append", full)
        status, said = client.answer("1.png")
    assert status == 507
    assert said["error"] == "not saved: labels.jsonl: could not be written (No space left on device)"
    assert client.state()["done"] == 1
    assert client.answer("1.png")[0] == 200
    assert given(tmp_path / "run") == [("0.png", "label", "cat"), ("1.png", "label", "cat")]


def test_a_port_in_use_is_refused_in_one_line(asked, photos, tmp_path):
    client, _, _ = asked
    for port in (client.port, 70_000):
        setting = Setting(tmp_path, photos, CLASSES, port, "margin")
        with (
            pytest.raises(InvalidInputError, match=rf"config\.page\.port={port}: cannot be had \("),
            page(setting),
        ):
            pass


def picture(client, file, query=""):
    status, headers, content = client.send("GET", f"/image?file={quote(file)}{query}")
    return status, headers["Content-Type"], content


def test_images_are_served_as_browsers_show_them(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (30, 600, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a.jpg")
    Image.fromarray(np.uint16([[0, 65_535]])).save(folder / "b.tif")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(noise).save(folder / "c.png", exif=exif)
    frames = [Image.new("RGB", (3, 3), color) for color in ("red", "blue")]
    frames[0].save(folder / "d.gif", save_all=True, append_images=frames[1:])
    with served(folder, tmp_path / "run", capsys) as (client, _, _):
        assert picture(client, "a.jpg") == (200, "image/jpeg", (folder / "a.jpg").read_bytes())
        shown = {}
        for file in ("b.tif", "c.png", "d.gif"):
            status, kind, content = picture(client, file)
            assert (status, kind) == (200, "image/png")
            shown[file] = Image.open(io.BytesIO(content))
        assert np.asarray(shown["b.tif"]).tolist() == [[0, 255]]
        assert shown["c.png"].size == (30, 600)
        assert getattr(shown["d.gif"], "n_frames", 1) == 1
        tile = Image.open(io.BytesIO(picture(client, "a.jpg", "&tile=1")[2]))
        assert tile.size == (384, 19)


def test_images_that_cannot_be_shown_are_named_and_nothing_else_is_served(photos, tmp_path, capsys, caplog):
    secret = tmp_path / "secret.png"
    Image.new("L", (2, 2)).save(secret)
    (photos / "link.png").symlink_to(secret)
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n")
    batch = batch_of(photos)
    (photos / "0.png").unlink()
    Image.new("L", (2, 2), 9).save(photos / "1.png")
    with served(photos, tmp_path / "run", capsys, batch) as (client, _, _):
        for file, reason in (
            ("link.png", "does not lie in the folder of images"),
            ("broken.png", "cannot be decoded"),
            ("0.png", "cannot be read (No such file or directory)"),
            ("1.png", "changed since it was asked"),
        ):
            for _ in range(2):
                status, kind, content = picture(client, file)
                assert (status, kind) == (410, "application/json; charset=utf-8")
                assert json.loads(content) == {"error": f"{file}: {reason}"}
            assert caplog.text.count(f"{file}: {reason}; it may be skipped on the page") == 1
        assert picture(client, "deep/ä &<2>.png")[0] == 200
        assert client.answer("0.png", "skip")[0] == 200


def test_an_open_page_sees_the_end(photos, tmp_path, capsys):
    seen = []
    with served(photos, tmp_path / "run", capsys) as (client, session, run):
        for _ in range(5):
            client.answer(client.state()["file"])
        run.join(5)
        session.report(Progress("finished", 1, 5, None, None, 1.0))
        late = threading.Timer(0.3, lambda: seen.append(client.state()["phase"]))
        late.start()
    late.join()
    assert seen == ["finished"]


def test_an_address_that_is_none_is_answered(shared):
    status, _, content = shared[0].send("GET", "http://[/")
    assert status == 400
    assert json.loads(content) == {"error": "not an address (Invalid IPv6 URL)"}


def test_many_connections_leave_the_run_its_files(monkeypatch):
    monkeypatch.setattr(web, "CONNECTIONS", 2)
    with web.serving(0, lambda request: web.json_reply("here")) as port, ExitStack() as opened:
        kept = [opened.enter_context(closing(http.client.HTTPConnection("localhost", port))) for _ in "ab"]
        for one in kept:
            one.request("GET", "/")
            assert one.getresponse().read() == b'"here"'
        late = opened.enter_context(closing(http.client.HTTPConnection("localhost", port)))
        late.connect()
        assert late.sock.recv(1) == b""
        kept[0].request("GET", "/")
        assert kept[0].getresponse().status == 200


def test_it_needs_no_jax():
    code = "import sys, aljax.oracles.page; sys.exit('jax' in sys.modules or 'PIL' in sys.modules)"
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": root})
