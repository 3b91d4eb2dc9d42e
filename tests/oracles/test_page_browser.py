"""Tests of the labeling page in a browser, by keyboard: what was pressed is what the journal holds."""

import itertools
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from aljax.records import journal

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SERVE = """
import hashlib, sys, time
from pathlib import Path
from aljax.oracles.base import Batch, Progress, Question, Setting
from aljax.oracles.page import page

folder, workdir, port, seconds, classes = sys.argv[1:]
folder, classes = Path(folder), tuple(classes.split(","))
paths = sorted(folder.iterdir())
with page(Setting(Path(workdir), folder, classes, int(port), "margin")) as session:
    for cycle in (1, 2):
        questions = tuple(
            Question(path.name, path, hashlib.sha256(path.read_bytes()).hexdigest(), rank, 1.5,
                     classes[rank % 2] if cycle == 2 else "", 0.75, "margin" if rank != 2 else "random")
            for rank, path in enumerate(paths[(cycle - 1) * 6 : cycle * 6], 1)
        )
        session.report(Progress("asking", cycle, 0, None, None))
        session.ask(Batch(cycle, questions))
        session.report(Progress("training", cycle, 6 * cycle, 0.8, (0.7, 0.9), 0.5))
        time.sleep(float(seconds))
    session.report(Progress("finished", cycle, 12, 0.8, (0.7, 0.9), 1.0))
assert "jax" not in sys.modules
"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    path = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if path is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} on the path")
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (64, 48), (20 * number, 90, 120)).save(folder / f"{number:02d} <i>&.jpg")
    return folder


@pytest.fixture
def start(photos, tmp_path):
    """Returns a function that starts the process that serves: it, and the address."""
    processes = []
    (tmp_path / "run").mkdir()

    def begin(port=0, seconds=0.0, classes="cat,dog,bird"):
        command = [
            sys.executable,
            "-c",
            SERVE,
            str(photos),
            str(tmp_path / "run"),
            str(port),
            str(seconds),
            classes,
        ]
        root = str(Path(__file__).parents[2])
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
        )
        processes.append(process)
        return process, process.stdout.readline().strip().removeprefix("label at ")

    yield begin
    for process in processes:
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda line: page.errors.append(line.text) if line.type == "error" else None)
    yield page
    context.close()


def expect(locator):
    from playwright.sync_api import expect as of_playwright

    return of_playwright(locator)


def pressed(tmp_path):
    return [one.label or one.answer for one in journal.read(tmp_path / "run")]


def test_by_keyboard_from_the_first_image_to_the_end(page, start, tmp_path):
    process, url = start(seconds=1.0)
    page.goto(url)
    expect(page.locator("#progress")).to_have_text("0 of 6")
    expect(page.locator("img#image")).to_have_attribute("alt", "00 <i>&.jpg")
    for key in ("1", "2", "s"):
        page.keyboard.press(key)
    expect(page.locator("#progress")).to_have_text("3 of 6")
    page.keyboard.press("z")
    expect(page.locator("img#image")).to_have_attribute("alt", "02 <i>&.jpg")
    page.keyboard.press("Backspace")
    expect(page.locator("img#image")).to_have_attribute("alt", "01 <i>&.jpg")
    page.reload()
    expect(page.locator("#progress")).to_have_text("1 of 6")
    second = page.context.new_page()
    second.goto(url)
    expect(second.locator("img#image")).to_have_attribute("alt", "01 <i>&.jpg")
    second.keyboard.press("u")
    expect(second.locator("#progress")).to_have_text("2 of 6")
    expect(page.locator("#progress")).to_have_text("2 of 6")
    expect(page.locator("img#image")).to_have_attribute("alt", "02 <i>&.jpg")
    second.close()
    for key in ("b", "4", "x", "Shift", "3", "1", "2"):  # b is bird; no class has place 4
        page.keyboard.press(key)
    expect(page.locator("#wait-title")).to_have_text("The model is training")
    keys = ["cat", "dog", "skip", "undo", "undo", "unsure", "bird", "bird", "cat", "dog"]
    assert pressed(tmp_path) == keys

    expect(page.locator("#progress")).to_have_text("0 of 6")  # by itself
    expect(page.locator("#guessed")).to_be_hidden()
    page.keyboard.press("1")
    expect(page.locator("#message")).to_have_text("Saved: cat. The model's guess was dog, 75 %.")
    page.keyboard.press("2")
    page.keyboard.press("0")
    expect(page.locator("#confirm")).to_have_text("Confirm 4 of 4")
    page.keyboard.press("Space")  # unmarks the first
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")
    expect(page.locator("#confirm")).to_have_text("Confirm 3 of 4")
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_have_text("5 of 6")
    assert sorted(pressed(tmp_path)[-3:]) == ["bird", "dog", "dog"]
    page.keyboard.press("2")
    expect(page.locator("#wait-title")).to_have_text("Finished", timeout=30_000)  # the page asks now and then
    assert process.wait(10) == 0
    assert len(pressed(tmp_path)) == len(keys) + 6
    assert page.errors == []


def test_killed_in_the_middle_and_started_again(page, start, tmp_path):
    process, url = start()
    page.goto(url)
    expect(page.locator("img#image")).to_be_visible()
    for key in "12s":
        page.keyboard.press(key)
    expect(page.locator("#progress")).to_have_text("3 of 6")
    process.send_signal(signal.SIGKILL)
    process.wait()
    page.keyboard.press("2")
    expect(page.locator("#problem")).to_contain_text("aljax does not answer")
    before = pressed(tmp_path)
    assert before == ["cat", "dog", "skip"]
    port = url.split(":")[2].split("/")[0]
    _, anew = start(port=port)
    assert anew.split("#")[0] == url.split("#")[0]
    expect(page.locator("#problem")).to_contain_text("open the one that aljax printed")
    page.goto(anew)
    expect(page.locator("#progress")).to_have_text("3 of 6")
    expect(page.locator("img#image")).to_have_attribute("alt", "03 <i>&.jpg")
    page.keyboard.press("z")
    page.keyboard.press("3")
    expect(page.locator("#message")).to_have_text("Saved: bird.")
    assert pressed(tmp_path) == [*before, "undo", "bird"]


def test_what_cannot_be_shown_or_saved_is_said_in_one_line(page, start, photos, tmp_path):
    (photos / "00 <i>&.jpg").write_bytes(b"not an image")
    _, url = start()
    page.goto(url)
    expect(page.locator("#problem")).to_have_text("00 <i>&.jpg: cannot be decoded. Press s to skip it.")
    page.keyboard.press("1")  # what nobody saw has no class
    page.keyboard.press("s")
    expect(page.locator("#progress")).to_have_text("1 of 6")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("img#image")).to_be_visible()
    (tmp_path / "run" / journal.NAME).rename(tmp_path / "kept")
    (tmp_path / "run" / journal.NAME).mkdir()
    page.evaluate(  # at once: what is typed before the first is refused goes with it
        """for (const key of "12")
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }))"""
    )
    expect(page.locator("#problem")).to_contain_text("not saved: ")
    expect(page.locator("#progress")).to_have_text("1 of 6")
    (tmp_path / "run" / journal.NAME).rmdir()
    (tmp_path / "kept").rename(tmp_path / "run" / journal.NAME)
    page.keyboard.press("3")
    expect(page.locator("#progress")).to_have_text("2 of 6")
    expect(page.locator("#problem")).to_be_hidden()
    assert pressed(tmp_path) == ["skip", "bird"]


def test_many_classes_are_found_by_typing(page, start, tmp_path):
    _, url = start(classes=",".join(f"{letter}{place}" for letter, place in itertools.product("abst", "xyz")))
    page.goto(url)
    expect(page.locator("img#image")).to_be_visible()
    page.keyboard.press("9")  # the class of that place
    page.keyboard.type("by")
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_have_text("2 of 6")
    page.keyboard.press("s")  # skips, though classes begin so
    page.keyboard.press("/")
    page.keyboard.type("sz")
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_have_text("4 of 6")
    assert pressed(tmp_path) == ["sz", "by", "skip", "sz"]


def test_from_key_to_next_image(page, start, photos, tmp_path):
    noise = Image.effect_noise((1600, 1200), 60)
    for path in photos.iterdir():
        noise.save(path, "JPEG")
    _, url = start()
    asked_for = Counter()
    page.on("request", lambda request: asked_for.update([request.url] * ("/image?" in request.url)))
    page.goto(url)
    expect(page.locator("img#image")).to_be_visible()
    page.wait_for_timeout(500)
    clock = """() => { window.spans = []; let at = 0;
      addEventListener("keydown", () => { at = performance.now(); }, true);
      new MutationObserver((all) => { for (const one of all) for (const node of one.addedNodes)
        if (node.id === "image") requestAnimationFrame(() => window.spans.push(performance.now() - at)); })
        .observe(document.getElementById("stage"), { childList: true }); }"""
    page.evaluate(clock)
    for done in range(1, 6):
        page.keyboard.press("1")
        expect(page.locator("#progress")).to_have_text(f"{done} of 6")
        page.wait_for_timeout(300)
    spans = page.evaluate("window.spans")
    assert len(spans) == 5
    assert max(asked_for.values()) == 1  # each image once, and before its turn
    if os.getloadavg()[0] < os.cpu_count():  # where others keep the cores busy, it says nothing
        assert statistics.median(spans) < 100, spans
    print("milliseconds from key to next image:", *map(round, spans))
