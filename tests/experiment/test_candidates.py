"""Streams, made images, validation and stopping, end to end on a small study of the digits."""

import json
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image

from aljax.data import dataset as data
from aljax.errors import Interrupted, InvalidInputError, RunError
from aljax.experiment import candidates, validation
from aljax.experiment import loop as experiment
from aljax.experiment.monitor import Monitor
from aljax.records import directory as records
from aljax.records import files, selections, verify
from aljax.scenarios import pool
from tests.harness import results, small, start

ROOT = Path(__file__).parents[2]
FIELDS = {
    "stream": {
        "scenario": "stream",
        "uncertainty": "least_confidence",
        "stream.policy": "variable",
        "stream.window": 20,
        "validation_fraction": 0.25,
        "stop.patience": 9,
    },
    "synthesis": {"scenario": "synthesis", "validation_fraction": 0.25, "stop.stability": 0.9999},
    "folds": {"validation_folds": 2, "stop.labels": 40},
}


def one_trial(**fields):
    return small(**{"trials": 1, **fields})


def lines_of(workdir):
    return files.read_lines(workdir / "cycles.jsonl")[0]


def chosen_of(workdir, cycle):
    return selections.load(selections.path_of(workdir, 0, cycle))


def shown(workdir):
    """The bytes of every file that is there for a person to look at."""
    folder = workdir / "selections" / "trial-00"
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("*/*")}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What this process compiles, for those that it starts."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    folder = tmp_path_factory.mktemp("cache")
    for values in ((str(folder), 0), before):
        for name, value in zip(names, values, strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is not before:
            yield folder


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """Runs that were left alone, by their names, and how often each function was traced."""
    counts = Counter()

    def listen(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/jaxpr_trace_duration":
            counts[fun_name] += 1

    found = {}
    for name, fields in FIELDS.items():
        workdir = tmp_path_factory.mktemp("whole") / name
        counts.clear()
        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            experiment.run(one_trial(**fields), workdir)
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
        found[name] = workdir, dict(counts)
    return found


@pytest.mark.parametrize("name", FIELDS)
def test_nothing_is_wrong_with_it(whole, name):
    assert list(verify.problems(whole[name][0])) == []


@pytest.mark.parametrize("name", FIELDS)
def test_no_function_is_traced_twice(whole, name):
    """Or not at all, where an earlier run had the same shapes."""
    ours = ("epochs", "measured", "query", "propose", "render")
    counts = whole[name][1]
    assert {function: counts[function] for function in ours if counts.get(function, 0) > 1} == {}
    assert counts.get("of_portion", 0) <= 3  # of test set, sub-pool with labeled images, and stop set
    assert name != "synthesis" or counts["render"] == 1


def test_a_stream_asks_on_arrival(whole):
    workdir, _ = whole["stream"]
    first, *later = lines_of(workdir)
    assert (first["seen"], first["queried"]) == (100, 20)
    labeled = 20
    for line in later:
        chosen = chosen_of(workdir, line["cycle"])
        arrivals = chosen.details["arrivals"]
        score = dict(zip(chosen.subset, chosen.scores, strict=True))
        asked = [
            image
            for image, threshold in zip(arrivals, chosen.details["thresholds"], strict=True)
            if score[image] > threshold
        ]
        assert asked == list(chosen.uncertainty)
        assert line["queried"] == len(asked) == len(set(chosen.diversity)) <= 20
        assert line["seen"] == len(arrivals) == len(set(arrivals)) <= 100
        assert set(chosen.diversity) <= set(arrivals) <= set(chosen.subset)
        assert line["overlap"] == len(set(chosen.diversity) & set(asked))
        labeled += len(asked)
        assert line["labeled"] == labeled
        assert list(arrivals) != sorted(arrivals)


def test_made_images_come_with_their_recipes_and_the_labels_of_their_sources(whole):
    workdir, _ = whole["synthesis"]
    dataset = data.load(**one_trial()["dataset"])
    real = chosen_of(workdir, 1).acquired
    for cycle in (2, 3):
        chosen = chosen_of(workdir, cycle)
        assert set(chosen.details["source"]) | set(chosen.details["other"]) <= set(real)
        told, _ = files.read_lines(workdir / f"selections/trial-00/cycle-0{cycle}/queries.jsonl")
        assert [line["proposal"] for line in told] == list(chosen.acquired)
        for line, image in zip(told, chosen.details["images"], strict=True):
            path = workdir / f"selections/trial-00/cycle-0{cycle}" / line["file"]
            assert np.array_equal(np.asarray(Image.open(path)), image.squeeze())
            assert line["class"] == str(dataset.train.labels[line["source"]])
            assert dataset.train.labels[line["source"]] == dataset.train.labels[line["other"]]
            assert line["source_id"] == dataset.train.ids[line["source"]]
            assert line["source"] == chosen.details["source"][line["proposal"]]
    assert [line["labeled"] for line in lines_of(workdir)] == [20, 40, 60]


def test_the_oracle_names_the_class_of_the_source(whole, tmp_path):
    workdir, _ = whole["synthesis"]
    config = one_trial(**FIELDS["synthesis"])
    with records.opened(tmp_path, config, {"versions": {}, "device": ""}):
        study = experiment.prepare(config, tmp_path, experiment.local_mesh(config))
    real = np.asarray(study.train_set.labels)[:1300]
    images = pool.unlabeled(1300)
    for cycle in (1, 2, 3):
        study, images = candidates.label(study, images, chosen_of(workdir, cycle), cycle)
    assert list(images.labeled[20:]) == list(range(1300, 1340))
    chosen = chosen_of(workdir, 3)
    chex.assert_trees_all_equal(
        np.asarray(study.train_set.labels)[1320:1340], real[chosen.details["source"][chosen.acquired]]
    )
    chex.assert_trees_all_equal(np.asarray(study.train_set.images)[1320:1340], chosen.details["images"])
    chex.assert_trees_all_equal(np.asarray(study.train_set.labels)[:1300], real)


def test_what_is_held_out_is_neither_trained_on_nor_made_into_others(tmp_path, monkeypatch):
    seen = []
    original = experiment.fit

    def spying(study, pools, trial, watch, before=None, **options):
        seen.append([set(images.labeled) for images in pools])
        return original(study, pools, trial, watch, before, **options)

    held = []
    holding = validation.extended_holdout
    monkeypatch.setattr(experiment, "fit", spying)
    monkeypatch.setattr(validation, "extended_holdout", lambda *args: held.append(holding(*args)) or held[-1])
    experiment.run(one_trial(**FIELDS["synthesis"]), tmp_path / "run")
    assert [list(images) for images in held] == [list(held[0])] * 3
    assert len(held[0]) == 5
    real = set(chosen_of(tmp_path / "run", 1).acquired)
    assert set(held[0]) < real
    kept = real - set(held[0])
    assert seen[-1] == [kept, kept | set(range(1300, 1320)), kept | set(range(1300, 1340))]
    assert not set(chosen_of(tmp_path / "run", 2).details["source"]) & set(held[0])


@pytest.mark.parametrize("name", ["stream", "synthesis"])
def test_killed_in_the_middle_it_gives_the_same_bytes(cache, whole, tmp_path_factory, name):
    workdir = tmp_path_factory.mktemp("killed") / name
    process = start(cache, workdir, **{"trials": 1, **FIELDS[name]})
    while process.poll() is None and not selections.path_of(workdir, 0, 2).exists():
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    experiment.run(one_trial(**FIELDS[name]), workdir)
    assert results(workdir) == results(whole[name][0])
    assert shown(workdir) == shown(whole[name][0])


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("complete", [1, 2])
def test_lost_lines_and_selections_are_made_again(whole, tmp_path, name, complete):
    workdir = tmp_path / "run"
    shutil.copytree(whole[name][0], workdir)
    kept = (workdir / "cycles.jsonl").read_bytes().splitlines(keepends=True)[:complete]
    (workdir / "cycles.jsonl").write_bytes(b"".join(kept))
    for cycle in range(complete + 1, 4):
        selections.path_of(workdir, 0, cycle).unlink(missing_ok=True)
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)  # of long trainings alone
    experiment.run(one_trial(**FIELDS[name]), workdir)
    assert results(workdir) == results(whole[name][0])
    assert shown(workdir) == shown(whole[name][0])


def test_interrupted_in_a_fold_it_goes_on_with_that_fold(whole, tmp_path, monkeypatch):
    original = Monitor.epoch_done
    trained = []

    def asking_to_stop(monitor, trial, cycle, epoch, epochs, metrics, part=""):
        original(monitor, trial, cycle, epoch, epochs, metrics, part)
        trained.append((cycle, part, epoch))
        if trained[-1] == (2, "-fold-1", 5):
            monitor.stop_requested = signal.SIGTERM

    monkeypatch.setattr(Monitor, "epoch_done", asking_to_stop)
    config = one_trial(**FIELDS["folds"])
    with pytest.raises(Interrupted):
        experiment.run(config, tmp_path / "run")
    before = len(trained)
    experiment.run(config, tmp_path / "run")
    assert [place for place in trained[before:] if place[0] == 2 and place[1]] == [
        *((2, "-fold-1", epoch) for epoch in range(trained[before - 1][2] + 1, 13)),
        *((2, "-fold-2", epoch) for epoch in range(1, 13)),
    ]
    assert results(tmp_path / "run") == results(whole["folds"][0])


def test_why_it_stopped_stands_in_the_summary(whole, capsys):
    workdir, _ = whole["folds"]
    lines = lines_of(workdir)
    reason = "labels: 40 of at most 40 labeled, and a batch is 20"
    assert [line["stopped"] for line in lines] == [None, reason]
    rows = json.loads((workdir / "summary.json").read_text())
    assert "stopped" not in rows[0]
    assert rows[1]["stopped"] == [{"trial": 0, "reason": reason}]
    before = (workdir / "cycles.jsonl").stat().st_mtime_ns
    experiment.run(one_trial(**FIELDS["folds"]), workdir)
    assert (workdir / "cycles.jsonl").stat().st_mtime_ns == before
    assert f"Trial 0 stopped after cycle 2: {reason}" in capsys.readouterr().out
    assert lines_of(whole["stream"][0])[-1]["stopped"] == "cycles: all 3, as planned"
    assert all(0 <= line["validation_accuracy"] <= 1 for line in lines)
    stabilities = [line["stability"] for line in lines_of(whole["synthesis"][0])]
    assert stabilities[0] is None
    assert all(-1 <= kappa <= 1 for kappa in stabilities[1:])


def test_the_test_set_decides_nothing(whole, tmp_path, monkeypatch):
    """With other labels in the test split, only what is measured on it changes."""
    original = data.load

    def with_other_labels(**fields):
        dataset = original(**fields)
        return dataset._replace(test=dataset.test._replace(labels=(dataset.test.labels + 3) % 10))

    monkeypatch.setattr(data, "load", with_other_labels)
    for name in ("synthesis", "folds"):
        experiment.run(one_trial(**FIELDS[name]), tmp_path / name)
        expected, found = lines_of(whole[name][0]), lines_of(tmp_path / name)
        differing = {
            key
            for a, b in zip(expected, found, strict=True)
            for key in a.keys() | b.keys()
            if a.get(key) != b.get(key)
        }
        assert differing - {"doubts"} == {"accuracy", "test_loss"}
        assert results(tmp_path / name)[1] == results(whole[name][0])[1]


def test_a_stream_that_asks_for_nothing(tmp_path, capsys):
    config = one_trial(**{**FIELDS["stream"], "stream.policy": "fixed", "stream.threshold": 1.0})
    experiment.run(config, tmp_path / "run")
    line = lines_of(tmp_path / "run")[1]
    assert (line["seen"], line["queried"], line["labeled"], line["overlap"]) == (100, 0, 20, 0)
    assert line["C"] is line["kappa"] is line["jaccard"] is line["p_value"] is None
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert rows[2]["labeled"] == 20
    assert rows[1]["C"] == {"mean": None, "sd": None, "low": None, "high": None}
    assert list(verify.problems(tmp_path / "run")) == []


def test_a_stream_needs_scores(tmp_path):
    for name in ("core_set", "aljax.strategies:core_set"):
        with pytest.raises(
            InvalidInputError, match=r"core_set': accepted: in a stream, one that scores each"
        ):
            experiment.run(one_trial(**{**FIELDS["stream"], "uncertainty": name}), tmp_path / "run")
    own = tmp_path / "own.py"
    own.write_text("def pick(key, view, budget): return range(budget)")
    with pytest.raises(RunError, match=r"trial 0, cycle 2: .*pick' gives no scores, as a stream needs"):
        experiment.run(one_trial(**{**FIELDS["stream"], "uncertainty": f"{own}:pick"}), tmp_path / "run")


def thresholds(workdir):
    chosen = chosen_of(workdir, 2)
    details = {**chosen.details, "thresholds": np.full_like(chosen.details["thresholds"], -np.inf)}
    selections.save(selections.path_of(workdir, 0, 2), chosen._replace(details=details))


def without_arrivals(workdir):
    chosen = chosen_of(workdir, 2)
    selections.save(selections.path_of(workdir, 0, 2), chosen._replace(details={}))


def sources(workdir):
    chosen = chosen_of(workdir, 3)
    details = {**chosen.details, "source": np.zeros_like(chosen.details["source"])}
    selections.save(selections.path_of(workdir, 0, 3), chosen._replace(details=details))


def reason(workdir):
    lines = lines_of(workdir)
    lines[1]["stopped"] = lines[1]["stopped"].replace("labels: 40 of", "labels: 41 of")
    files.write(workdir / "cycles.jsonl", b"".join(map(files.encoded, lines)))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("stream", thresholds, "cycle-02.npz: the images queried are not those above their thresholds"),
        ("stream", without_arrivals, "cycle-02.npz: lacks details/arrivals, which a stream has"),
        ("synthesis", sources, "cycle-03.npz: 1 images that others were made from are not labeled"),
        (
            "synthesis",
            lambda run: (run / "selections/trial-00/cycle-02/003.png").unlink(),
            "cycle-02/003.png: missing",
        ),
        (
            "synthesis",
            lambda run: Image.new("L", (8, 8)).save(run / "selections/trial-00/cycle-02/003.png"),
            "cycle-02/003.png: is not the image that was queried",
        ),
        ("folds", reason, "cycles.jsonl:2: stopped is 'labels: 41 of"),
    ],
)
def test_what_is_wrong_is_said(whole, tmp_path, name, damage, message):
    workdir = tmp_path / "run"
    shutil.copytree(whole[name][0], workdir)
    damage(workdir)
    problems = list(verify.problems(workdir))
    assert any(message in problem for problem in problems), problems


def test_the_study_s_own_run_says_nothing_of_all_this(tmp_path):
    experiment.run(one_trial(), tmp_path / "run")
    assert not {"seen", "queried", "stopped", "stability", "validation_accuracy"} & set(
        lines_of(tmp_path / "run")[1]
    )
    with np.load(selections.path_of(tmp_path / "run", 0, 2)) as arrays:
        details = {name for name in arrays if name.startswith("details")}
    assert details == {"details/ties/uncertainty", "details/ties/diversity"}
