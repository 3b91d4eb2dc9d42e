"""The whole run, end to end, on a small study of the digits."""

import copy
import itertools
import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from aljax import agreement, strategies
from aljax.data import dataset as data
from aljax.errors import InvalidInputError, RunError
from aljax.experiment import loop as experiment
from aljax.experiment.fit import fit
from aljax.experiment.monitor import Monitor, monitoring
from aljax.experiment.study import key_of, local_mesh, prepare
from aljax.records import checkpoints, diagnostics, files, selections, verify
from aljax.records import directory as records
from aljax.runtime import mesh
from aljax.scenarios import pool
from aljax.training import ensemble
from aljax.training.step import no_metrics
from tests import harness
from tests.harness import changed, config_of, launch, results, start

ROOT = Path(__file__).parents[2]
MOST_COMPILATIONS = 20  # of a run of two trials and three cycles
LINE = [
    *("trial", "cycle", "labeled", "budget", "subset_size", "overlap", "chance", "C", "kappa", "jaccard"),
    *("p_value", "uncertainty", "diversity", "acquired", "ties", "selections_sha256"),
    *("accuracy", "test_loss", "train_loss", "epochs", "retries"),
]


@pytest.fixture(scope="session")
def cache():
    """Compiled functions, shared by all tests and their processes."""
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


def lines_of(workdir):
    return files.read_lines(workdir / "cycles.jsonl")[0]


@pytest.fixture(scope="session")
def finished(cache, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "whole"
    status, output, errors = launch(cache, workdir)
    assert status == 0, errors
    return workdir, output, errors


@pytest.fixture
def small(tmp_path):
    return harness.small()


def test_the_records_keep_the_contract(finished):
    workdir, _, _ = finished
    lines = lines_of(workdir)
    assert [(line["trial"], line["cycle"]) for line in lines] == [(t, c) for t in (0, 1) for c in (1, 2, 3)]
    assert all([name for name in line if name != "doubts"] == LINE for line in lines)
    assert [line["labeled"] for line in lines] == [20, 40, 60] * 2
    assert [line["uncertainty"] for line in lines[:3]] == ["random", "learning_loss", "learning_loss"]
    assert [line["diversity"] for line in lines[:3]] == ["random", "core_set", "core_set"]
    assert all(line["chance"] == 4 for line in lines)
    assert lines[2]["accuracy"] > lines[0]["accuracy"] / 2 > 0
    stored = json.loads((workdir / "config.json").read_text())
    assert len(stored["data_sha256"]) == 64
    assert set(stored["versions"]) == {"jax", "jaxlib", "flax", "aljax"}
    assert stored["device"] == f"{jax.local_device_count()} x {jax.devices()[0].device_kind}"
    assert stored["train"]["epochs"] == 12
    timings, _ = files.read_lines(workdir / "timings.jsonl")
    assert len(timings) == 6
    assert all({"score", "select", "train", "evaluate"} <= set(timing) for timing in timings)
    assert list((workdir / "tensorboard" / "trial-01").glob("events*"))


def test_the_selections_are_those_of_the_protocol(finished):
    workdir, _, _ = finished
    for trial in range(2):
        labeled = pool.unlabeled(1300)
        for cycle in (1, 2, 3):
            chosen = selections.load(selections.path_of(workdir, trial, cycle))
            assert chosen.subset.shape == (100,)
            assert not set(chosen.subset) & set(labeled.labeled)
            assert set(chosen.uncertainty) | set(chosen.diversity) <= set(chosen.subset)
            assert chosen.scores.shape == (100,)
            rank = dict(zip(chosen.subset, chosen.scores, strict=True))
            best = sorted(rank.values(), reverse=True)[:20]
            assert [rank[image] for image in chosen.uncertainty] == best
            line = next(x for x in lines_of(workdir) if (x["trial"], x["cycle"]) == (trial, cycle))
            measured = agreement.compare(chosen.uncertainty, chosen.diversity, 100)
            assert {name: line[name] for name in measured._fields} == measured._asdict()
            labeled = pool.label(labeled, chosen.uncertainty)


def test_the_diagnostics_are_those_of_the_selections(finished):
    workdir, _, _ = finished
    lines, _ = files.read_lines(workdir / "diagnostics.jsonl")
    assert [(line["trial"], line["cycle"]) for line in lines] == [(t, c) for t in (0, 1) for c in (1, 2, 3)]
    labels = data.load(**config_of("digits")["dataset"]).train.labels
    for line in lines:
        chosen = selections.load(selections.path_of(workdir, line["trial"], line["cycle"]))
        for name, batch in (("pool", chosen.subset), ("diversity", chosen.diversity)):
            assert line["classes"][name] == np.bincount(labels[batch], minlength=10).tolist()
        assert (line["distance"] is None) == (line["cycle"] == 1)
        if line["cycle"] > 1:
            assert set(line["distance"]) == {"pool", "uncertainty", "diversity", "random"}
            assert line["radius"]["diversity"] < line["radius"]["before"]
            assert all(-1 <= value <= 1 for value in line["spearman"].values())
    for cycle in (2, 3):
        chosen = selections.load(selections.path_of(workdir, 0, cycle))
        kept = diagnostics.unpacked(diagnostics.path_of(workdir, 0, cycle))
        images = data.load(**config_of("digits")["dataset"]).train.images
        np.testing.assert_array_equal(kept.images, images[chosen.subset[kept.shown]])
        both = set(chosen.uncertainty.tolist()) & set(chosen.diversity.tolist())
        assert set(chosen.subset[kept.group == diagnostics.BOTH].tolist()) == both


def test_it_leaves_a_report(finished):
    workdir, output, _ = finished
    assert f"report: {workdir / 'report.html'}" in output
    assert "C is negative at cycle 2" in (workdir / "report.html").read_text()
    assert {"correlation.png", "correlation.svg", "accuracy.png", "accuracy.svg"} <= {
        path.name for path in (workdir / "figures").iterdir()
    }


def test_it_ends_with_the_table_and_the_directory(finished):
    workdir, output, errors = finished
    assert f"run directory: {workdir}" in output
    rows = [line for line in output.splitlines() if "│" in line]
    assert len(rows) == 3
    assert "60" in rows[2]
    assert errors.count("labeled, accuracy") == 6  # a log line per cycle, as there is no terminal
    summary = json.loads((workdir / "summary.json").read_text())
    mean = np.mean([line["C"] for line in lines_of(workdir) if line["cycle"] == 3])
    assert summary[2]["C"]["mean"] == pytest.approx(mean)
    assert f"{mean:+.3f}" in rows[2]
    assert (workdir / "summary.csv").read_text().count("\n") == 4
    assert list(verify.problems(workdir)) == []


def test_a_finished_run_is_left_as_it_is(cache, finished):
    workdir, output, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*.jsonl")}
    status, again, errors = launch(cache, workdir)
    assert status == 0, errors
    assert again == output
    assert "accuracy" not in errors
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*.jsonl")} == before


def test_a_finished_run_in_which_something_changed_is_reported_and_not_rewritten(small, finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "changed")
    path = workdir / "summary.json"
    path.write_bytes(path.read_bytes().replace(b'"trials": 2', b'"trials": 3'))
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"summary\.json: is not what manifest\.json lists, and 1 more"):
        experiment.run(small, workdir)
    assert path.read_bytes() == before
    (workdir / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"summary\.json: is not what the records give, and not overwritten"):
        experiment.run(small, workdir)
    assert path.read_bytes() == before


def test_killed_again_and_again_it_gives_the_same_bytes(cache, small, finished, tmp_path):
    workdir = tmp_path / "killed"
    rng = np.random.default_rng(0)
    kills = 0
    for target in (0, 1, 2, 4, 5):
        process = start(cache, workdir)
        while process.poll() is None and (len(lines_of(workdir)) if workdir.exists() else 0) < target:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 4
    experiment.run(small, workdir)
    assert results(workdir) == results(finished[0])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_saves_a_checkpoint_and_goes_on_from_there(
    cache, small, finished, tmp_path, number, status
):
    workdir = tmp_path / "stopped"
    process = start(cache, workdir)
    while process.poll() is None and not (workdir / "selections" / "trial-00" / "cycle-02.npz").exists():
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == status, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("aljax: stopped in trial 0, cycle 2, after epoch ")
    epoch = int(last.split("after epoch ")[1].split(";")[0])
    assert list((workdir / "checkpoints" / "trial-00").glob(f"cycle-02-attempt-0-epoch-{epoch:04d}-*"))
    experiment.run(small, workdir)
    assert results(workdir) == results(finished[0])


def interrupted(finished, workdir, lines):
    """A copy of a finished run as it was when `lines` were written and the next cycle was being trained."""
    shutil.copytree(finished[0], workdir)
    content = (workdir / "cycles.jsonl").read_bytes().splitlines(keepends=True)
    (workdir / "cycles.jsonl").write_bytes(b"".join(content[:lines]))
    for trial, cycle in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)][lines + 1 :]:
        selections.path_of(workdir, trial, cycle).unlink()
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)  # of long trainings alone
    return workdir


@pytest.mark.parametrize("cycle", [2, 3, None], ids=["complete", "under way", "none"])
def test_damaged_selections_and_lost_checkpoints_are_made_again(small, finished, tmp_path, cycle, caplog):
    workdir = interrupted(finished, tmp_path / "damaged", lines=2)
    if cycle:
        path = selections.path_of(workdir, 0, cycle)
        path.write_bytes(path.read_bytes()[:-40])
    experiment.run(small, workdir)
    assert ("damaged, and not used" in caplog.text) == bool(cycle)
    assert results(workdir) == results(finished[0])
    assert list(verify.problems(workdir)) == []


def test_a_damaged_checkpoint_of_the_cycle_under_way_is_not_used(
    small, finished, tmp_path, caplog, monkeypatch
):
    sound = interrupted(finished, tmp_path / "sound", lines=5)
    monkeypatch.setattr("aljax.experiment.fit.WORTH", 0)  # as if the training took long
    experiment.run(small, sound)
    workdir = interrupted(finished, tmp_path / "damaged", lines=5)
    saved = next((sound / "checkpoints" / "trial-01").iterdir())
    copied = workdir / "checkpoints" / "trial-01" / saved.name
    shutil.copytree(saved, copied)
    for file in copied.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    experiment.run(small, workdir)
    assert "damaged, and not used" in caplog.text
    assert results(workdir) == results(finished[0])


def test_selections_of_another_run_are_refused(small, finished, tmp_path):
    workdir = interrupted(finished, tmp_path / "mixed", lines=5)
    path = selections.path_of(workdir, 1, 2)
    chosen = selections.load(path)
    selections.save(path, chosen._replace(diversity=chosen.uncertainty))
    with pytest.raises(
        InvalidInputError, match=r"cycle-02\.npz: the selections share 20 images, and cycles\.jsonl says"
    ):
        experiment.run(small, workdir)
    selections.save(path, chosen._replace(scores=chosen.scores + 1))
    with pytest.raises(InvalidInputError, match=r"cycle-02\.npz: its SHA-256 is \w{16}, and cycles\.jsonl"):
        experiment.run(small, workdir)
    shutil.copy(selections.path_of(workdir, 1, 1), path)
    with pytest.raises(
        InvalidInputError, match=r"cycle-02\.npz: a batch holds an image that is already labeled"
    ):
        experiment.run(small, workdir)


@pytest.mark.parametrize(
    ("file_limit", "status", "message"),
    [
        (12_000, 1, r"/checkpoints/trial-00/cycle-01-\S+: could not be written \(File too large\)"),
        (2_700, 1, r"/selections/trial-00/cycle-01\.npz: could not be written \(File too large\)"),
        (
            100,
            2,
            r"--workdir=\S+ \S+/config\.json: could not be written \(File too large\); accepted: a folder",
        ),
    ],
)
def test_when_the_disk_was_full_it_goes_on_from_there(
    cache, small, finished, tmp_path, file_limit, status, message
):
    workdir = tmp_path / "full"
    ended, _, errors = launch(cache, workdir, file_limit=file_limit, checkpoint_minutes=0.0)
    assert ended == status
    lines = [line for line in errors.splitlines() if line.startswith("aljax: ")]
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert "Traceback" not in errors
    if status == 1:
        experiment.run(changed(small, checkpoint_minutes=0.0), workdir)
        assert results(workdir) == results(finished[0])


def test_a_folder_that_vanishes_ends_the_run_in_one_line(cache, tmp_path):
    workdir = tmp_path / "gone"
    process = start(cache, workdir)
    while process.poll() is None and not (workdir / "selections" / "trial-00" / "cycle-01.npz").exists():
        time.sleep(0.005)
    while workdir.exists():  # the run may write into it meanwhile
        shutil.rmtree(workdir, ignore_errors=True)
    _, errors = process.communicate()
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert re.match(r"aljax: .*(No such file or directory|removed|replaced)", last), errors
    assert "Traceback" not in errors


def test_one_trial_alone_gives_the_numbers_it_has_among_others(small, finished, tmp_path):
    experiment.run(changed(small, trials=1, first_trial=1), tmp_path / "alone")
    alone = lines_of(tmp_path / "alone")
    assert alone == lines_of(finished[0])[3:]
    assert [line["trial"] for line in alone] == [1, 1, 1]


def test_each_function_is_traced_once_over_all_cycles_and_trials(small, tmp_path):
    counts, compiled = Counter(), Counter()

    def listen(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/jaxpr_trace_duration":
            counts[fun_name] += 1
        if event == "/jax/core/compile/backend_compile_duration":
            compiled[fun_name] += 1

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        experiment.run(small, tmp_path / "run")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    ours = ("epochs", "measured", "_greedy")
    assert {name: counts[name] for name in ours} == dict.fromkeys(ours, 1)
    assert counts["of_portion"] == 2  # of the test set, and of sub-pool and labeled images
    assert counts["fresh"] <= 1  # its shapes are asked for beforehand, and kept
    assert compiled["jit(epochs)"] == 1
    assert compiled.total() <= MOST_COMPILATIONS, (
        compiled
    )  # small operations outside of a function are each one


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory and open files from /proc")
def test_memory_and_open_files_do_not_grow_over_fifty_cycles(small, tmp_path, monkeypatch):
    megabytes, files = [], []
    original = Monitor.cycle_done

    def measuring(watch, line):
        original(watch, line)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        files.append(len(os.listdir("/proc/self/fd")))

    monkeypatch.setattr(Monitor, "cycle_done", measuring)
    config = changed(small, trials=1, cycles=50, budget=4, train__epochs=2)
    config = changed(config, train__milestones=(1,), train__detach_epoch=1)
    experiment.run(config, tmp_path / "run")
    assert len(megabytes) == 50
    print(f"memory at cycles 1, 10 and 50: {megabytes[0]:.0f}, {megabytes[9]:.0f}, {megabytes[49]:.0f} MiB")
    assert megabytes[49] - megabytes[9] < 20
    assert max(files[9:]) <= files[9]


def run_directory(workdir, config):
    with records.opened(workdir, config, {"versions": {}, "device": ""}):
        return workdir


def test_a_cycle_trains_afresh(small, finished, tmp_path):
    """The model of cycle 3 depends on its labels alone, not on the models before it."""
    workdir, _, _ = finished
    devices = local_mesh(small)
    study = prepare(small, run_directory(tmp_path, small), devices)
    pools = [pool.unlabeled(1300)]
    for cycle in (1, 2, 3):
        chosen = selections.load(selections.path_of(workdir, 0, cycle))
        pools.append(pool.label(pools[-1], chosen.uncertainty))
    with monitoring(lambda cycle: 1, [(0, 3)], [], tmp_path) as watch:
        progress = fit(study, pools[1:], 0, watch)
    recorded = lines_of(workdir)[2]["train_loss"]
    assert float(progress.metrics.cross_entropy) == pytest.approx(recorded, rel=1e-4)


@pytest.mark.usefixtures("two_devices")
def test_one_model_selects_alike_on_one_and_two_devices(small, tmp_path):
    selected = []
    for count in (1, 2):
        config = changed(small, devices=count)
        study = prepare(config, run_directory(tmp_path / str(count), config), local_mesh(config))
        images = pool.label(pool.unlabeled(1300), np.arange(0, 600, 15, dtype=np.int32))
        state = ensemble.fresh(
            study.key[None], networks=study.networks, recipe=study.recipe, image_shape=(8, 8, 1)
        )
        progress = checkpoints.Progress(0, 12, state, no_metrics())
        progress = jax.device_put(progress, mesh.everywhere(study.mesh))
        held = np.empty(0, np.int32)
        selected.append(experiment.select(study, images, held, progress, 0, 3, experiment.Clock()))
    chex.assert_trees_all_equal(selected[0]._replace(scores=0), selected[1]._replace(scores=0))
    chex.assert_trees_all_close(selected[0].scores, selected[1].scores, atol=1e-5)


def test_any_strategy_acquires_and_every_pair_is_compared(small, finished, tmp_path):
    names = ("learning_loss", "core_set", "margin", "bald")
    config = changed(small, trials=1, acquire="margin", compare=names, ensemble=2)
    experiment.run(config, tmp_path / "run")
    assert list(verify.problems(tmp_path / "run")) == []
    lines, of_pairs = lines_of(tmp_path / "run"), files.read_lines(tmp_path / "run" / "pairs.jsonl")[0]
    assert [line["acquired"] for line in lines] == ["random", "margin", "margin"]
    assert [(pair["cycle"], pair["a"], pair["b"]) for pair in of_pairs] == [
        (cycle, a, b) for cycle in (1, 2, 3) for a, b in itertools.combinations(names, 2)
    ]
    labeled = pool.unlabeled(1300)
    for line in lines:
        chosen = selections.load(selections.path_of(tmp_path / "run", 0, line["cycle"]))
        labeled = pool.label(labeled, chosen.acquired)
        main = next(pair for pair in of_pairs if pair["cycle"] == line["cycle"])
        assert (main["overlap"], main["C"]) == (line["overlap"], line["C"])
        if line["cycle"] > 1:
            chex.assert_trees_all_equal(chosen.acquired, chosen.compared["margin"])
            rank = dict(zip(chosen.subset, chosen.compared_scores["margin"], strict=True))
            best = sorted(rank.values(), reverse=True)[:20]
            assert [rank[image] for image in chosen.acquired] == best
    first = selections.load(selections.path_of(finished[0], 0, 1))
    again = selections.load(selections.path_of(tmp_path / "run", 0, 1))
    chex.assert_trees_all_equal(first.acquired, again.acquired)  # the same beginning, whatever acquires


def test_a_warm_start_begins_with_the_weights_of_the_cycle_before(small, tmp_path):
    """At a learning rate of next to nothing they stay; a cold start has others."""
    config = changed(small, warm_start=True, train__learning_rate=1e-12, train__epochs=1)
    config = changed(config, train__milestones=(), train__detach_epoch=1)
    pools = [pool.Pool(1300, np.arange(count, dtype=np.int32)) for count in (20, 40)]
    kernels = []
    for name, warm in (("warm", True), ("cold", False)):
        changed(config, warm_start=warm)
        study = prepare(config, run_directory(tmp_path / name, config), local_mesh(config))
        with monitoring(lambda cycle: 1, [(0, 1), (0, 2)], [], tmp_path) as watch:
            for count in (1, 2):
                state = fit(study, pools[:count], 0, watch).state
                kernels.append(np.asarray(state.params["backbone"]["Dense_0"]["kernel"]))
    chex.assert_trees_all_close(kernels[0], kernels[1], atol=1e-8)
    assert np.abs(kernels[2] - kernels[3]).max() > 0.01


def test_a_warm_start_goes_on_when_killed(small, tmp_path):
    experiment.run(changed(small, trials=1), tmp_path / "cold")
    config = changed(small, trials=1, warm_start=True)
    experiment.run(config, tmp_path / "whole")
    whole, cold = lines_of(tmp_path / "whole"), lines_of(tmp_path / "cold")
    assert whole[0] == cold[0]
    assert whole[1]["overlap"] == cold[1]["overlap"]
    assert whole[1]["train_loss"] != cold[1]["train_loss"]
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    content = (tmp_path / "killed" / "cycles.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "killed" / "cycles.jsonl").write_bytes(b"".join(content[:2]))
    experiment.run(config, tmp_path / "killed")
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_what_one_use_of_randomness_draws_leaves_the_others_alone(small, tmp_path):
    study = prepare(small, run_directory(tmp_path, small), local_mesh(small))
    names = ("subset", "uncertainty", "diversity", "weights", "batches")
    keys = [
        tuple(jax.random.key_data(key_of(study, trial, cycle, name)).tolist())
        for trial in range(3)
        for cycle in range(1, 4)
        for name in names
    ]
    assert len(set(keys)) == len(keys)


def test_a_score_that_is_not_finite_ends_the_run_with_status_1(small, tmp_path, monkeypatch):
    def broken(key, view, budget):
        return strategies.highest(key, jax.numpy.full(view.subset_size, jax.numpy.nan), budget)

    monkeypatch.setitem(strategies.STRATEGIES, "learning_loss", broken)
    with pytest.raises(RunError, match=r"trial 0, cycle 2: .*100 of 100 scores are not finite"):
        experiment.run(copy.deepcopy(small), tmp_path / "run")
    assert len(lines_of(tmp_path / "run")) == 1


def test_training_that_diverged_is_tried_again_with_other_weights(small, tmp_path, monkeypatch):
    original = Monitor.epoch_done
    failures = iter([3, 7])

    def failing(watch, trial, cycle, epoch, epochs, metrics, part):
        if cycle == 2 and epoch == failing.next:
            failing.next = next(failures, None)
            metrics = metrics._replace(bad_step=1)
        original(watch, trial, cycle, epoch, epochs, metrics, part)

    failing.next = next(failures)
    monkeypatch.setattr(Monitor, "epoch_done", failing)
    config = changed(small, retries=2, trials=1)
    experiment.run(config, tmp_path / "run")
    lines = lines_of(tmp_path / "run")
    assert [line["retries"] for line in lines] == [0, 2, 0]
    assert list(verify.problems(tmp_path / "run")) == []


def test_a_loss_that_is_not_finite_names_its_place(small, tmp_path):
    config = changed(small, train__learning_rate=1e30)
    with pytest.raises(
        RunError, match="trial 0, cycle 1, epoch 1, step 2: the loss or a weight is not finite"
    ):
        experiment.run(config, tmp_path / "run")
    assert lines_of(tmp_path / "run") == []
    assert not list((tmp_path / "run").glob("checkpoints/*/*"))
