import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.config import FIELDS
from aljax.errors import InvalidInputError, RunError
from aljax.records import directory as records
from aljax.records import files, places, selections

PLAN = [(trial, cycle) for trial in range(2) for cycle in (1, 2)]
CONFIG = {"seed": 0, "train": {"epochs": 2, "milestones": (1,)}}
ENVIRONMENT = {"versions": {"jax": "1"}, "device": "1 x cpu"}


def line(trial, cycle):
    return {"trial": trial, "cycle": cycle, "C": 0.1 + 0.2}


def of(trial, cycle):
    return files.encoded(line(trial, cycle)).removesuffix(b"\n")


def places_in(path):
    return [(line["trial"], line["cycle"]) for line in files.read_lines(path)[0]]


@pytest.fixture
def cycles(tmp_path):
    path = tmp_path / "cycles.jsonl"
    path.touch()
    (tmp_path / "timings.jsonl").touch()
    for trial, cycle in PLAN[:3]:
        files.append(path, line(trial, cycle))
        files.append(tmp_path / "timings.jsonl", {"trial": trial, "cycle": cycle, "train": 1.0})
    return path


def test_lines_come_back_as_they_were(cycles):
    assert records.completed(cycles.parent, PLAN) == [line(*place) for place in PLAN[:3]]
    assert records.completed(cycles.parent / "nothing", PLAN) == []


def test_a_half_written_last_line_is_dropped_wherever_it_was_cut(cycles):
    whole = cycles.read_bytes()
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for cut in range(last + 1, len(whole)):
        cycles.write_bytes(whole[:cut])
        assert len(records.completed(cycles.parent, PLAN)) == 2
        assert cycles.read_bytes() == whole[:last]
    files.append(cycles, line(1, 1))
    assert cycles.read_bytes() == whole


def test_timings_are_cut_to_the_complete_cycles(cycles):
    files.append(cycles.parent / "timings.jsonl", {"trial": 1, "cycle": 2, "train": 1.0})
    records.completed(cycles.parent, PLAN)
    assert places_in(cycles.parent / "timings.jsonl") == PLAN[:3]


@pytest.mark.parametrize("selected", [True, False])
def test_diagnostics_stay_where_their_selections_stand(cycles, selected):
    path = cycles.parent / "diagnostics.jsonl"
    path.touch()
    for place in PLAN:
        records.put(path, line(*place))
    if selected:
        files.write(selections.path_of(cycles.parent, *PLAN[3]), b"")
    records.completed(cycles.parent, PLAN)
    assert places_in(path) == (PLAN if selected else PLAN[:3])


def test_the_line_of_a_cycle_is_put_in_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.touch()
    for place in PLAN:
        records.put(path, line(*place))
    before = path.read_bytes()
    records.put(path, line(*PLAN[1]))
    assert path.read_bytes() == before
    records.put(path, {**line(*PLAN[1]), "C": 0.5})
    assert [entry["C"] for entry in files.read_lines(path)[0]] == [0.1 + 0.2, 0.5, 0.1 + 0.2, 0.1 + 0.2]
    assert places_in(path) == PLAN


@pytest.mark.parametrize(
    ("number", "content", "message"),
    [
        (2, b'{"trial": 0, "cyc', r"cycles\.jsonl:2: damaged"),
        (1, b"[]", r"cycles\.jsonl:1: damaged"),
        (2, b"", r"cycles\.jsonl:2: damaged"),
        (3, b'{"trial": 1, "cycle": 1}', r"cycles\.jsonl:3: damaged \(it does not end with a checksum"),
        (2, of(1, 1), r"cycles\.jsonl:2: is of trial 1, cycle 1; expected: trial 0, cycle 2"),
        (3, of(1, 3), r"cycles\.jsonl:3: is of trial 1, cycle 3"),
        (3, of(1, 1).replace(b'"C": 0.3', b'"C": 0.4'), r"cycles\.jsonl:3: damaged \(its checksum differs"),
        (1, of(0, 1.0), r"cycles\.jsonl:1: damaged \(cycle is 1\.0, not a whole number"),
        (1, of(False, 1), r"cycles\.jsonl:1: damaged \(trial is False, not a whole number"),
    ],
)
def test_a_damaged_line_stops_the_run_and_nothing_is_overwritten(cycles, number, content, message):
    lines = cycles.read_bytes().splitlines()
    lines[number - 1] = content
    cycles.write_bytes(b"\n".join(lines) + b"\n")
    before = cycles.read_bytes()
    with pytest.raises(InvalidInputError, match=message):
        records.completed(cycles.parent, PLAN)
    assert cycles.read_bytes() == before


def test_a_stopped_trial_ends_before_its_last_cycle(cycles):
    (first, second) = (line(0, 1), line(1, 1))
    cycles.write_bytes(b"")
    files.append(cycles, {**first, "stopped": "labels: 1"})
    files.append(cycles, {**second, "stopped": None})
    lines = records.completed(cycles.parent, PLAN)
    assert places.shortened(PLAN, lines) == [(0, 1), (1, 1), (1, 2)]
    timings, _ = files.read_lines(cycles.parent / "timings.jsonl")
    assert [(timing["trial"], timing["cycle"]) for timing in timings] == [(0, 1), (1, 1)]
    files.append(cycles, line(0, 2))
    with pytest.raises(InvalidInputError, match=r":3: is of trial 0, cycle 2; expected: trial 1, cycle 2"):
        records.completed(cycles.parent, PLAN)


def test_more_lines_than_planned(cycles):
    with pytest.raises(InvalidInputError, match=r":3: .*expected: no more lines"):
        records.completed(cycles.parent, PLAN[:2])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 3))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, whole_lines):
    path = tmp_path_factory.mktemp("fuzz") / "cycles.jsonl"
    path.write_bytes(files.encoded({"trial": 0, "cycle": 1}) * whole_lines + content)
    with contextlib.suppress(InvalidInputError):
        lines, length = files.read_lines(path)
        assert len(lines) >= whole_lines
        assert path.read_bytes()[:length].count(b"\n") >= len(lines)
        assert all(isinstance(record, dict) for record in lines)


def test_numbers_that_are_not_numbers_are_not_written(tmp_path):
    record = {"trial": 1, "cycle": 2, "C": np.float64(0.5), "uncertainty": "random"}
    assert records.plain(record) == record
    with pytest.raises(RunError, match="trial 1, cycle 2: test_loss is nan"):
        records.plain({**record, "test_loss": np.float32("nan")})
    (tmp_path / "cycles.jsonl").touch()
    with pytest.raises(ValueError, match="JSON"):
        files.append(tmp_path / "cycles.jsonl", {"C": float("inf")})
    assert (tmp_path / "cycles.jsonl").read_bytes() == b""


def test_a_file_that_has_vanished_is_not_begun_again(tmp_path):
    with pytest.raises(RunError, match=r"cycles\.jsonl: could not be written \(No such file"):
        files.append(tmp_path / "gone" / "cycles.jsonl", {"C": 0.5})
    assert not (tmp_path / "gone").exists()


# Selections


@pytest.fixture
def chosen():
    rng = np.random.default_rng(0)
    subset = np.sort(rng.permutation(1000)[:100]).astype(np.int32)
    scores = rng.normal(size=100).astype(np.float32)
    none = np.empty(0, np.float32)
    compared, compared_scores = (
        {"margin": subset[:10], "own.py:best": subset[3:13]},
        {"margin": scores, "own.py:best": none},
    )
    details = {"arrivals": subset[::-1], "thresholds": scores[::-1]}
    return selections.Selections(
        subset, subset[:10], subset[5:15], subset[:10], scores, compared, compared_scores, details
    )


def test_selections_come_back_and_equal_ones_give_equal_bytes(tmp_path, chosen):
    a, b = selections.path_of(tmp_path, 0, 1), selections.path_of(tmp_path, 12, 10)
    assert b == tmp_path / "selections" / "trial-12" / "cycle-10.npz"
    selections.save(a, chosen)
    selections.save(b, chosen)
    assert a.read_bytes() == b.read_bytes()
    chex.assert_trees_all_equal(selections.load(a), chosen)
    assert selections.load(tmp_path / "none.npz") is None


@pytest.mark.parametrize("content", [b"", b"hello", b"PK"])
def test_what_is_no_archive_is_not_used(tmp_path, content):
    path = tmp_path / "cycle-01.npz"
    path.write_bytes(content)
    assert selections.load(path) is None


def test_no_alteration_of_selections_goes_unnoticed(tmp_path, chosen):
    path = tmp_path / "cycle-01.npz"
    selections.save(path, chosen)
    whole = path.read_bytes()
    unused = 0
    for place in range(0, len(whole), 7):
        altered = bytearray(whole)
        altered[place] ^= 4
        path.write_bytes(altered)
        loaded = selections.load(path)
        if loaded is None:
            unused += 1
        else:  # a byte of the archive's frame that says nothing of the arrays
            chex.assert_trees_all_equal(loaded, chosen)
        path.write_bytes(whole[:place])
        assert selections.load(path) is None
    assert unused > len(whole) / 7 * 0.8


def test_pickles_are_not_read(tmp_path):
    path = tmp_path / "cycle-01.npz"
    np.savez(path, **dict.fromkeys(selections.Selections._fields, np.array([{}], object)))
    assert selections.load(path) is None


# The directory


def opened(workdir, config=CONFIG, environment=ENVIRONMENT):
    with records.opened(workdir, config, environment):
        pass


def test_a_new_directory_gets_its_config(tmp_path):
    opened(tmp_path / "runs" / "a")
    stored = json.loads((tmp_path / "runs" / "a" / "config.json").read_text())
    assert stored == {"seed": 0, "train": {"epochs": 2, "milestones": [1]}, **ENVIRONMENT}
    opened(tmp_path / "runs" / "a")


def begin(workdir):
    """A run directory in which something was selected."""
    opened(workdir)
    files.write(workdir / "selections" / "trial-00" / "cycle-01.npz", b"")


def test_a_side_file_that_is_gone_is_begun_again_and_named(tmp_path, caplog):
    begin(tmp_path)
    files.append(tmp_path / "cycles.jsonl", {"trial": 0, "cycle": 1})
    (tmp_path / "timings.jsonl").unlink()
    opened(tmp_path)
    assert (tmp_path / "timings.jsonl").read_bytes() == b""
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'timings.jsonl'}: missing; its lines of the cycles so far are lost"
    ]


def test_a_config_under_which_nothing_was_done_may_be_corrected(tmp_path):
    opened(tmp_path)
    opened(tmp_path, {**CONFIG, "seed": 1})
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path):
    begin(tmp_path)
    other = {"seed": 1, "train": {"epochs": 3, "milestones": (1,)}, "budget": 5}
    with pytest.raises(InvalidInputError) as refusal:
        opened(tmp_path, other)
    text = str(refusal.value)
    assert "config.seed is 1, was 0" in text
    assert "config.train.epochs is 3, was 2" in text
    assert "config.budget is 5, was absent" in text
    assert "milestones" not in text


def test_a_field_that_came_later_was_as_its_default_is(tmp_path):
    begin(tmp_path)
    opened(tmp_path, {**CONFIG, "tracker": FIELDS["tracker"].default})
    with pytest.raises(InvalidInputError, match=r"config\.tracker is 'wandb', was absent"):
        opened(tmp_path, {**CONFIG, "tracker": "wandb"})


def test_other_data_are_refused(tmp_path):
    begin(tmp_path)
    records.check_same(tmp_path, "data_sha256", "a" * 64)
    opened(tmp_path)
    records.check_same(tmp_path, "data_sha256", "a" * 64)
    with pytest.raises(
        InvalidInputError, match=r"the data set has changed .* is bbbbbbbbbbbb, was aaaaaaaaaaaa"
    ):
        records.check_same(tmp_path, "data_sha256", "b" * 64)


def test_other_versions_go_on(tmp_path):
    begin(tmp_path)
    opened(tmp_path, environment={"versions": {"jax": "2"}, "device": "2 x cpu"})
    assert json.loads((tmp_path / "config.json").read_text())["device"] == "1 x cpu"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seed": 0}'])
def test_a_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InvalidInputError, match=r"config\.json: is not a config that aljax wrote"):
        opened(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    (tmp_path / f"{files.PARTIAL}thesis").touch()
    with pytest.raises(InvalidInputError, match=r"holds thesis\.tex but no config\.json"):
        opened(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # nothing was removed, and nothing left


@pytest.mark.parametrize("target", ["config.json", "moved/config.json"], ids=["a circle", "nowhere"])
def test_a_config_that_is_a_link_to_nothing_is_named(tmp_path, target):
    (tmp_path / "config.json").symlink_to(target)
    with pytest.raises(InvalidInputError, match=r"config\.json: cannot be read"):
        opened(tmp_path)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(InvalidInputError, match=r"--workdir=.*accepted: a folder"):
        opened(tmp_path / "run")


def test_a_second_process_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    code = (
        "import sys; from aljax.records import directory as records\n"
        f"with records.opened(__import__('pathlib').Path(sys.argv[1]), {CONFIG!r}, {ENVIRONMENT!r}):\n"
        "    print('holding', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with holder:
        assert holder.stdout.readline() == b"holding\n"
        with pytest.raises(InvalidInputError, match=f"process {holder.pid} is at work in it"):
            opened(tmp_path)
        holder.kill()
    opened(tmp_path)


def test_what_a_killed_write_left_is_removed(tmp_path):
    opened(tmp_path)
    left_over = tmp_path / "selections" / "trial-00" / f"{files.PARTIAL}x"
    left_over.parent.mkdir(parents=True)
    left_over.touch()
    opened(tmp_path)
    assert not left_over.exists()


# A disk that fills up, by the limit on a file's size.

FULL = """
import resource, signal, sys
from pathlib import Path
from aljax.records import files
from aljax.errors import RunError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (170, 170))
path = Path(sys.argv[1])
try:
    if sys.argv[2] == "append":
        files.append(path, {"trial": 0, "cycle": 3, "C": 0.25})
    else:
        files.write(path, b"x" * 300)
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize("how", ["append", "write"])
def test_a_full_disk_loses_nothing(tmp_path, how):
    path = tmp_path / "cycles.jsonl"
    path.touch()
    files.append(path, {"trial": 0, "cycle": 1, "C": 0.125})
    files.append(path, {"trial": 0, "cycle": 2, "C": 0.125})
    before = path.read_bytes()
    assert len(before) < 170
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(path), how],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert run.stdout.startswith(f"{path}: could not be written")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["cycles.jsonl"]
