"""Runs that people label, from unlabeled images to predictions, without a person."""

import contextlib
import csv
import shutil

import numpy as np
import pytest
from PIL import Image

import aljax
from aljax import cli
from aljax.errors import InvalidInputError, RunError
from aljax.experiment import embed, export, people, review
from aljax.oracles import Question, Session, Waiting
from aljax.oracles import files as by_files
from aljax.oracles.dataset import answering
from aljax.records import files, inventory, journal, selections, verify
from aljax.report import make
from aljax.report import people as reported
from tests.harness import config_of

CLASSES = ("red", "green", "blue")
NETWORK = """
import flax.linen as nn

class Colours(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        means = images.mean(axis=(1, 2))
        return nn.Dense(self.num_classes)(means), (means,)

def build(num_classes, config):
    return Colours(num_classes)
"""


def photograph(root, number, kind=None):
    """Makes an image of 8x8 pixels that is unlike every other; returns its name and its class."""
    rng = np.random.default_rng(number)
    kind = number % 3 if kind is None else kind
    pixels = rng.integers(0, 90, (8, 8, 3))
    pixels[..., kind] += 100
    path = root / f"roll {number % 2}" / f"bild-ä{number:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path.relative_to(root).as_posix(), CLASSES[kind % 3]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "colours.py"
    path.write_text(NETWORK)
    return f"{path}:build"


@pytest.fixture
def config(network, tmp_path):
    """Returns the config of a tiny run on `tmp_path`/photos, with other fields by their dotted names."""

    def of(**fields):
        settings = {
            "dataset__data_dir": str(tmp_path / "photos"),
            "dataset__class_names": CLASSES,
            "dataset__image_size": 8,
            "dataset__encoder": "",
            "initial__strategy": "random",
            "model__name": network,
            "train__optimizer": "sgd",
            "train__learning_rate": 0.05,
            "train__batch_size": 8,
            "train__min_steps": 20,
            "train__pad": 1,
            "budget": 10,
            "subset_size": 15,
            "cycles": 2,
        }
        return config_of("label", **{**settings, **fields})

    return of


@pytest.fixture
def truth(tmp_path):
    """Makes 60 photographs; returns their classes by name."""
    return dict(photograph(tmp_path / "photos", number) for number in range(60))


def lines_of(workdir):
    return files.read_lines(workdir / "cycles.jsonl")[0]


def asked_in(workdir, cycle):
    return selections.asked(selections.load(selections.path_of(workdir, 0, cycle)))


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labels_of(workdir):
    return reported.load(workdir).of("train", "judge")


def halting(oracle, after):
    """Returns an oracle that answers the first `after` questions of a batch and is then killed."""

    @contextlib.contextmanager
    def killed(setting):
        with oracle(setting) as session:

            def ask(batch):
                session.ask(batch._replace(questions=batch.questions[:after]))
                raise KeyboardInterrupt

            yield Session(ask, session.report)

    return killed


def test_from_unlabeled_images_to_predictions(config, truth, tmp_path, capsys):
    run = tmp_path / "run"
    people.run(config(cycles=3), run, answering(truth))
    lines = lines_of(run)
    assert [line["labeled"] for line in lines] == [10, 20, 30]
    assert lines[0]["uncertainty"] == "random"
    assert (lines[2]["uncertainty"], lines[2]["diversity"]) == ("margin", "core_set")
    assert all(-1 <= line["C"] <= 1 for line in lines)
    assert [line["judged"] for line in lines] == [2, 4, 6]
    low, high = lines[2]["interval"]
    assert low < lines[2]["accuracy"] <= high
    answers = journal.read(run)
    assert len({one.file for one in answers}) == len(answers) == 30
    assert labels_of(run) == {one.file: truth[one.file] for one in answers}
    assert list(verify.problems(run)) == []
    assert "The answers" in (run / "report.html").read_text()

    out = tmp_path / "predicted.csv"
    assert cli.main(["predict", str(run), "--out", str(out)]) == 0
    rows = rows_of(out)
    assert list(rows[0]) == ["file", "label", "probability", *CLASSES]
    assert np.mean([row["label"] == truth[row["file"]] for row in rows]) > 0.8
    assert {row["file"] for row in rows} == truth.keys()
    for row in rows[:5]:
        assert float(row["probability"]) == max(float(row[name]) for name in CLASSES)

    model = aljax.load(run)
    probabilities = model.predict([tmp_path / "photos" / row["file"] for row in rows])
    assert [model.class_names[best] for best in probabilities.argmax(1)] == [row["label"] for row in rows]

    capsys.readouterr()
    assert cli.main(["status", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "3 of 3 cycles; 30 of 60 images have a label" in shown
    assert "on 6 images that no model was trained on" in shown


def test_the_images_that_judge_are_drawn_by_content_and_never_trained_on(config, truth, tmp_path):
    people.run(config(), tmp_path / "run", answering(truth))
    splits = {image.file: image.split for image in inventory.read(tmp_path / "run")}
    assert 0 < list(splits.values()).count("judge") < 30
    for cycle in (1, 2):
        chosen = selections.load(selections.path_of(tmp_path / "run", 0, cycle))
        named = chosen.details["files"].tolist()
        sub_pool, random = named[: len(chosen.subset)], named[len(chosen.subset) :]
        assert {splits[file] for file in sub_pool} == {"train"}
        assert {splits[file] for file in random} == {"judge"}
        assert len(random) == 2


@pytest.mark.parametrize("cycle", [1, 2])
def test_a_run_that_was_killed_while_it_asked_goes_on_as_if_it_had_not_been(config, truth, tmp_path, cycle):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    people.run(config(), whole, answering(truth))
    if cycle == 2:
        people.run(config(cycles=1), killed, answering(truth))
    with pytest.raises(KeyboardInterrupt):
        people.run(config(), killed, halting(answering(truth), after=4))
    assert len(journal.read(killed)) == 10 * (cycle - 1) + 4
    with (killed / journal.NAME).open("ab") as file:
        file.write(b'{"file": "half')  # of a line
    people.run(config(), killed, answering(truth))
    assert lines_of(killed) == lines_of(whole)
    assert asked_in(killed, 2) == asked_in(whole, 2)


def test_images_come_and_go_and_are_renamed_and_a_class_is_added(config, truth, tmp_path):
    run, photos = tmp_path / "run", tmp_path / "photos"
    people.run(config(cycles=1), run, answering(truth))
    labeled = sorted(asked_in(run, 1))
    before = labels_of(run)
    (photos / labeled[0]).rename(photos / "renamed.png")
    (photos / labeled[1]).unlink()
    free = next(file for file in truth if file not in labeled)
    (photos / free).unlink()
    more = dict(photograph(photos, number) for number in range(60, 66))
    truth = {**truth, **more, "renamed.png": truth[labeled[0]]}
    truth |= dict.fromkeys(more, "violet")
    people.run(config(cycles=3, dataset__class_names=(*CLASSES, "violet")), run, answering(truth))
    labels = labels_of(run)
    assert len(lines_of(run)) == 3
    assert labels["renamed.png"] == before[labeled[0]]
    assert not {labeled[0], labeled[1], free} & labels.keys()
    found, _ = files.read_lines(run / inventory.CHANGES)
    assert {(one["what"], one["name"], one["before"]) for one in found} >= {
        ("renamed", "renamed.png", labeled[0]),
        ("removed", "", labeled[1]),
        ("removed", "", free),
        *(("added", file, "") for file in more),
    }
    assert any(one["name"].startswith("dataset.class_names=") for one in found)
    assert aljax.load(run).class_names == (*CLASSES, "violet")
    assert list(verify.problems(run)) == []


def test_a_corrected_label_counts_and_the_run_goes_on(config, truth, tmp_path):
    run = tmp_path / "run"
    people.run(config(cycles=1), run, answering(truth))
    first = journal.read(run)[0]
    other = next(name for name in CLASSES if name != first.label)
    journal.append(run, first._replace(label=other, who="ben"), first._replace(label=first.label, who="anna"))
    journal.append(run, first._replace(label=other, who="ben"))
    people.run(config(), run, answering(truth))
    assert labels_of(run)[first.file] == other
    assert any("contradicting answers" in line and "ben" in line for line in reported.sentences(run))


def test_skipped_images_are_not_asked_again_and_unsure_ones_may_be(config, truth, tmp_path):
    run = tmp_path / "run"
    known = dict(list(truth.items())[:30])  # the others are skipped

    @contextlib.contextmanager
    def unsure(setting):
        def ask(batch):
            for one in batch.questions:
                kind = "label" if one.file in known else "unsure" if batch.cycle == 1 else "skip"
                label = known.get(one.file, "")
                given = journal.Answer(one.file, one.sha256, kind, label, batch.cycle, "", 1.0, "")
                journal.append(setting.workdir, given)

        yield Session(ask, lambda progress: None)

    people.run(config(cycles=9, budget=20, subset_size=30), run, unsure)
    lines = lines_of(run)
    assert len(lines) < 9  # no image is left
    kinds = [line["answers"] for line in lines]
    assert kinds[0]["unsure"] > 0
    assert sum(one["label"] for one in kinds) == 30
    assert sum(one["skip"] for one in kinds) == 30


def test_labels_that_there_are_are_used_and_a_test_set_judges(config, truth, tmp_path):
    photos, run = tmp_path / "photos", tmp_path / "run"
    moved = {}
    for number, (file, label) in enumerate(truth.items()):
        if number < 15:
            place = f"{'train' if number < 6 else 'test'}/{label}/{number}.png"
            (photos / place).parent.mkdir(parents=True, exist_ok=True)
            (photos / file).rename(photos / place)
            moved[place] = label
    table = tmp_path / "labels.csv"
    others = [file for file in truth if (photos / file).exists()]
    rows = "".join(f"{file};{truth[file]}\r\n" for file in others[:3])
    table.write_bytes(f"\ufefffile;label\r\n{rows}{others[3]};\r\n".encode())
    people.run(config(cycles=1, dataset__labels=str(table)), run, answering(truth))
    line = lines_of(run)[0]
    assert (line["labeled"], line["judged"], line["asked"]) == (6 + 3 + 10, 9, 10)
    assert not asked_in(run, 1).keys() & {*moved, *others[:3]}
    assert {one.cycle for one in journal.read(run)} == {0, 1}
    table.write_text(f"file,label\n{others[0]},blue\n")  # corrected, and two withdrawn
    people.run(config(cycles=2, dataset__labels=str(table)), run, answering(truth))
    labels = labels_of(run)
    assert labels[others[0]] == "blue"
    assert lines_of(run)[1]["labeled"] == 6 + 1 + 20


def test_a_run_whose_questions_wait_ends_and_goes_on(config, truth, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Waiting, match=r"asked/cycle-01\.csv: fill in the column label of its 10 rows"):
        people.run(config(oracle="files"), run)
    path = run / "asked" / "cycle-01.csv"
    rows = rows_of(path)
    assert list(rows[0]) == ["file", "rank", "score", "guess", "probability", "label"]
    assert [int(row["rank"]) for row in rows] == list(range(1, 11))
    text = "\t".join(["label", "file", "remark"]) + "\r\n"
    for row in reversed(rows[:8]):
        text += f"{truth[row['file']]}\t{row['file']}\t\r\n"
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(Waiting, match=r"cycle-02\.csv"):
        people.run(config(oracle="files"), run)
    assert lines_of(run)[0]["answers"] == {"label": 8, "skip": 0, "unsure": 0}
    assert not set(asked_in(run, 2)) & {row["file"] for row in rows[:8]}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"dataset__class_names": ()}, r"config\.dataset\.class_names=\(\): accepted: at least two names"),
        (
            {"dataset__class_names": ("a/b", "c")},
            r"class_names: 'a/b'; accepted: names that a folder can",
        ),
        ({"dataset__class_names": ("skip", "c")}, r"'skip'; accepted: .* none of them skip, unsure, file,"),
        ({"dataset__class_names": ("c", "probability")}, r"'probability'; accepted: .* none of them skip,"),
        ({"dataset__data_dir": "nowhere"}, r"config\.dataset\.data_dir='nowhere': accepted: a folder"),
        ({"dataset__labels": "no.csv"}, r"config\.dataset\.labels='no\.csv': No such file"),
        ({"trials": 2}, r"config\.trials=2: accepted: 1 with config\.oracle="),
        ({"oracle": "pages"}, r"config\.oracle='pages': did you mean 'page'\?"),
        (
            {"dataset__source": "embedded", "dataset__name": "digits", "dataset__data_dir": ""}
            | {"dataset__class_names": ()},
            r"accepted with config\.oracle=",
        ),
    ],
)
def test_what_cannot_be_labeled_is_refused_in_one_line(config, truth, tmp_path, fields, reason):
    with pytest.raises(InvalidInputError, match=reason):
        people.run(config(**fields), tmp_path / "run", None if "oracle" in fields else answering(truth))
    assert not (tmp_path / "run").exists()


def test_a_finished_run_does_nothing_but_take_in_corrections(config, truth, tmp_path):
    run = tmp_path / "run"
    people.run(config(), run, answering(truth))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    people.run(config(), run, answering(truth))
    assert {path: path.read_bytes() for path in before} == before
    found = review.doubted(run)
    wrong, label = next(iter(labels_of(run).items()))
    other = next(name for name in CLASSES if name != label)
    path = by_files.write_review(run, [*found, question_of(run, wrong)._replace(answer=label)])
    path.write_text(f"{path.read_text().splitlines()[0]}\n{wrong},,,,,{other}\n")
    people.run(config(), run, answering(truth))
    assert labels_of(run)[wrong] == other
    assert (run / "model.npz").read_bytes() != before[run / "model.npz"]
    assert list(verify.problems(run)) == []


def question_of(workdir, file):
    (image,) = (one for one in inventory.read(workdir) if one.file == file)
    return Question(file, workdir / file, image.sha256, 1, 0.0, "", 0.0, "review")


def test_a_wrong_answer_is_doubted(config, truth, tmp_path):
    run = tmp_path / "run"
    people.run(config(budget=20, subset_size=30), run, answering(truth))
    first = next(one for one in journal.read(run) if one.file in labels_of(run))
    other = next(name for name in CLASSES if name != first.label)
    journal.append(run, first._replace(label=other))
    doubted, *_ = review.doubted(run)
    assert (doubted.file, doubted.answer, doubted.guess) == (first.file, other, first.label)


def test_doubted_answers_are_asked_again(config, truth, tmp_path, monkeypatch):
    run = tmp_path / "run"
    people.run(config(), run, answering(truth))
    first, second, *_ = (one for one in journal.read(run) if one.answer == "label")
    wrong = next(name for name in CLASSES if name != first.label)
    journal.append(run, first._replace(label=wrong))
    monkeypatch.setattr(review, "page", answering(truth))
    asked = [question_of(run, first.file)._replace(answer=wrong)]
    asked.append(question_of(run, second.file)._replace(answer=second.label))
    assert review.ask_again(run, asked) == 1
    assert {one.cycle for one in journal.read(run)[-2:]} == {3}
    assert labels_of(run)[first.file] == first.label
    people.run(config(cycles=3), run, answering(truth))
    assert list(verify.problems(run)) == []


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """Writes an encoder; returns its name and a list of how many images each reading has embedded."""
    path, counts = tmp_path / "encoder.py", []
    path.write_text("def encode(images):\n    return images.mean(axis=(1, 2))\n")

    def counted(compute, name, todo, *others, computed=embed._computed):
        counts.append(len(todo))
        return computed(compute, name, todo, *others)

    monkeypatch.setattr(embed, "_computed", counted)
    return f"{path}:encode", counts


def test_images_are_embedded_once(config, truth, encoder, tmp_path):
    name, counts = encoder
    run = tmp_path / "run"
    fields = {"dataset__encoder": name, "model__name": "linear", "train__learning_rate": 0.1}
    people.run(config(**fields), run, answering(truth))
    file, kind = photograph(tmp_path / "photos", 60)
    people.run(config(**fields, cycles=3), run, answering({**truth, file: kind}))
    assert counts == [60, 1]
    assert list(verify.problems(run)) == []
    model = aljax.load(run)
    photos = [tmp_path / "photos" / file for file in truth]
    found = model.predict(photos).argmax(1)
    assert counts == [60, 1, 0]
    assert (
        np.mean([model.class_names[kind] == truth[file] for kind, file in zip(found, truth, strict=True)])
        > 0.8
    )


@pytest.mark.parametrize("name", ["images.csv", "model.npz"])
@pytest.mark.parametrize("cut", [None, 0, 0.5])
def test_a_file_of_a_run_that_waits_is_not_missed_and_made_again(config, truth, tmp_path, caplog, name, cut):
    run = tmp_path / "run"
    people.run(config(cycles=1), run, answering(truth))
    with pytest.raises(Waiting):
        people.run(config(oracle="files"), run)
    assert list(verify.problems(run)) == []
    content = (run / name).read_bytes()
    (run / name).unlink()
    if cut is not None:
        lines = content.splitlines(keepends=True)
        (run / name).write_bytes(b"".join(lines[: int(cut * len(lines))]))
    assert [line.split(": ")[0] for line in verify.problems(run)] == [str(run / name)]
    with pytest.raises(InvalidInputError, match=name):
        list(export.labeled(run)) if name == "images.csv" else aljax.load(run)
    with pytest.raises(Waiting):
        people.run(config(oracle="files"), run)
    assert name in caplog.text
    assert list(verify.problems(run)) == []
    assert len(list(export.labeled(run))) == 10
    assert aljax.load(run).class_names == CLASSES


def test_cycles_that_are_gone_are_not_labeled_again(config, truth, tmp_path):
    run = tmp_path / "run"
    people.run(config(cycles=1), run, answering(truth))
    page = (run / "report.html").read_bytes()
    (run / "cycles.jsonl").unlink()
    with pytest.raises(InvalidInputError, match=r"cycles\.jsonl: missing"):
        people.run(config(), run, answering(truth))
    with pytest.raises(InvalidInputError, match=r"cycles\.jsonl: missing"):
        make.report(run, anew=True)
    assert (run / "report.html").read_bytes() == page
    assert not (run / "cycles.jsonl").exists()


def test_damaged_embeddings_are_made_again(config, truth, encoder, tmp_path, caplog):
    name, counts = encoder
    run = tmp_path / "run"
    fields = {"dataset__encoder": name, "model__name": "linear"}
    people.run(config(**fields), run, answering(truth))
    held = run / "embeddings.npz"
    content = held.read_bytes()
    held.write_bytes(content[: len(content) // 2])
    assert any("embeddings.npz" in line for line in verify.problems(run))
    people.run(config(**fields), run, answering(truth))
    assert "embeddings.npz: damaged, and made again" in caplog.text
    assert held.read_bytes() == content
    assert counts == [60, 60]
    assert list(verify.problems(run)) == []


def test_another_encoder_is_refused(config, truth, encoder, tmp_path):
    name, _ = encoder
    run = tmp_path / "run"
    fields = {"dataset__encoder": name, "model__name": "linear"}
    people.run(config(**fields), run, answering(truth))
    (tmp_path / "encoder.py").write_text("def encode(images):\n    return images.max(axis=(1, 2))\n")
    with pytest.raises(InvalidInputError, match=r"the encoder, or its weights, has changed"):
        people.run(config(**fields), run, answering(truth))
    with pytest.raises(InvalidInputError, match=r"model\.npz: was trained on embeddings of another"):
        aljax.load(run)


def test_a_model_without_a_finite_test_loss_is_trained_again(config, truth, tmp_path, monkeypatch):
    evaluated = []

    def once_infinite(*arguments, original=people.evaluate):
        measured = original(*arguments)
        evaluated.append(measured)
        return {**measured, "test_loss": float("nan")} if len(evaluated) == 1 else measured

    monkeypatch.setattr(people, "evaluate", once_infinite)
    people.run(config(cycles=1, retries=1), tmp_path / "run", answering(truth))
    (line,) = lines_of(tmp_path / "run")
    assert line["retries"] == 1
    monkeypatch.setattr(people, "evaluate", lambda *arguments: {"test_loss": float("inf")})
    with pytest.raises(RunError, match="cycle 1: test_loss is inf"):
        people.run(config(cycles=1), tmp_path / "other", answering(truth))


def test_people_label_the_images_of_given_embeddings(config, truth, tmp_path, capsys):
    run, file, photos = tmp_path / "run", tmp_path / "colours.npz", tmp_path / "photos"
    means = [np.asarray(Image.open(photos / name)).mean((0, 1)) for name in truth]
    np.savez(file, features=np.array(means, np.float32), files=np.array(list(truth)))
    fields = {
        "dataset__source": "embeddings",
        "dataset__data_dir": str(file),
        "dataset__images_dir": str(photos),
        "model__name": "linear",
        "train__learning_rate": 0.1,
    }
    people.run(config(**fields), run, answering(truth))
    assert list(verify.problems(run)) == []
    assert cli.main(["predict", str(run), "--out", str(tmp_path / "out.csv")]) == 0
    rows = rows_of(tmp_path / "out.csv")
    assert [row["file"] for row in rows] == list(truth)
    assert np.mean([row["label"] == truth[row["file"]] for row in rows]) > 0.8
    assert cli.main(["export", str(run), "--to", "imagefolder", "--out", str(tmp_path / "sorted")]) == 0
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == len(labels_of(run))
    with pytest.raises(
        InvalidInputError, match=r"accepted: a file of embeddings, as the model was trained on"
    ):
        aljax.load(run).predict([photos / "a.png"])
    np.savez(file, features=np.ones((1, 2), np.float32))
    capsys.readouterr()
    assert cli.main(["predict", str(run), "--out", str(tmp_path / "out.csv")]) == 2
    assert "its features have 2 values; accepted: 3, as the model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images_dir", "arrays", "problem"),
    [
        ("", {"files": ["a.png", "b.png"]}, "accepted with config.oracle='page': .*images_dir"),
        ("photos", {}, r"colours\.npz: holds no files; accepted with config.dataset.images_dir"),
        ("photos", {"files": ["a.png", "b.png"]}, r"holds no image a\.png, which .*colours\.npz names"),
        ("nowhere", {"files": ["a.png", "b.png"]}, r"images_dir='.*nowhere': holds no image a\.png"),
    ],
)
def test_embeddings_whose_images_cannot_be_shown_are_refused(config, tmp_path, images_dir, arrays, problem):
    (tmp_path / "photos").mkdir()
    np.savez(tmp_path / "colours.npz", features=np.eye(2, 3, dtype=np.float32), **arrays)
    fields = {
        "dataset__source": "embeddings",
        "dataset__data_dir": str(tmp_path / "colours.npz"),
        "dataset__images_dir": str(tmp_path / images_dir) if images_dir else "",
        "model__name": "linear",
    }
    with pytest.raises(InvalidInputError, match=problem):
        people.run(config(**fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_embeddings_may_choose_the_first_batch(config, truth, encoder, tmp_path):
    name, _ = encoder
    fields = {"dataset__encoder": name, "model__name": "linear", "initial__strategy": "typiclust"}
    people.run(config(**fields), tmp_path / "run", answering(truth))
    first, second = lines_of(tmp_path / "run")
    assert (first["acquired"], second["acquired"]) == ("typiclust", "margin")
    assert list(verify.problems(tmp_path / "run")) == []


def test_a_network_from_scratch_for_want_of_a_pretrained_one_is_told(
    config, truth, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(people.encoders, "installed", lambda: False)
    people.run(config(cycles=1), tmp_path / "run", answering(truth))
    assert "no pretrained network: one is trained on the images alone; pip install" in caplog.text


@pytest.mark.parametrize("kept", [None, 0, 5])
def test_answers_that_are_lost_are_told_and_nothing_goes_on_without_them(config, truth, tmp_path, kept):
    run = tmp_path / "run"
    people.run(config(cycles=2), run, answering(truth))
    lines = (run / "labels.jsonl").read_bytes().splitlines(keepends=True)
    (run / "labels.jsonl").unlink()
    if kept is not None:
        (run / "labels.jsonl").write_bytes(b"".join(lines[:kept]))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    reason = rf"labels\.jsonl: {kept or 0} answers of cycle 1, and cycles\.jsonl counts 10; accepted"
    with pytest.raises(InvalidInputError, match=reason):
        people.run(config(cycles=2), run, answering(truth))
    with pytest.raises(InvalidInputError, match=reason):
        list(export.labeled(run))
    assert {path: path.read_bytes() for path in before} == before


def test_two_files_of_one_image_are_two_questions(config, tmp_path, caplog):
    photos = tmp_path / "photos"
    truth = dict(photograph(photos, number) for number in range(10))
    file = next(iter(truth))
    shutil.copyfile(photos / file, photos / "copy.png")
    truth["copy.png"] = next(name for name in CLASSES if name != truth[file])
    run = tmp_path / "run"
    people.run(config(cycles=1, budget=11, subset_size=30), run, answering(truth))
    assert lines_of(run)[0]["asked"] == sum(lines_of(run)[0]["answers"].values()) == 11
    assert list(verify.problems(run)) == []
    people.run(config(cycles=1, budget=11, subset_size=30), run, answering(truth))
    assert "are the same image, and have the labels" in caplog.text


def test_a_doubted_image_that_is_gone_is_in_nobody_s_way(config, truth, tmp_path):
    run = tmp_path / "run"
    people.run(config(cycles=2), run, answering(truth))
    gone, other = list(asked_in(run, 1))[:2]
    by_files.write_review(
        run, [question_of(run, file)._replace(answer=truth[file]) for file in (gone, other)]
    )
    (tmp_path / "photos" / gone).unlink()
    with pytest.raises(Waiting):
        people.run(config(cycles=3, oracle="files"), run)
    path = run / "asked" / "review.csv"
    path.write_text(path.read_text().replace(f"{gone},1,0,,,{truth[gone]}", f"{gone},1,0,,,skip"))
    with pytest.raises(InvalidInputError, match="is not one of the images that were asked"):
        people.run(config(cycles=3, oracle="files"), run)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda setting: None, "returns None; accepted: a context manager that yields a session"),
        (lambda setting: contextlib.nullcontext("x"), "yields 'x'; accepted: one with ask and report"),
    ],
)
def test_an_oracle_that_is_none_is_refused(config, truth, tmp_path, given, reason):
    with pytest.raises(InvalidInputError, match=reason):
        people.run(config(), tmp_path / "run", given)


def test_an_export_that_is_cut_short_leaves_nothing(config, truth, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "out" / "sorted"
    people.run(config(cycles=1), run, answering(truth))
    copied = []

    def copyfile(source, place, copy=shutil.copyfile):
        copied.append(place)
        if len(copied) == 4:
            raise OSError(28, "No space left on device")
        return copy(source, place)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(RunError, match="No space left on device"):
        export.imagefolder(run, out)
    assert list(out.parent.iterdir()) == []
    for _ in range(2):  # a new folder, and one that is there and empty
        assert export.imagefolder(run, out) == 10
        assert len([path for path in out.rglob("*") if path.is_file()]) == 10
        assert {path.name for path in out.iterdir()} <= {"train", "test"}
        assert list(out.parent.iterdir()) == [out]
        shutil.rmtree(out)
        out.mkdir()
