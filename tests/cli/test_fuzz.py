"""Random command lines and changes of every file that is read: a status of 0, 1 or 2, and no traceback."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aljax import cli
from aljax.cli import run as launcher
from aljax.config import FIELDS, check
from aljax.config.fields import nested
from aljax.errors import InvalidInputError
from aljax.records import (
    arrays,
    diagnostics,
    files,
    lines,
    manifest,
    reader,
    selections,
    stored_config,
    verify,
)
from aljax.records.kinds import KINDS
from tests.harness import finished_run

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
EXTREME = [
    *(2**31 - 1, 2**31, 2**32, 2**63, -1, 0, 10**400, 10**5000, True, False, None),
    *(1e308, -1e308, -0.0, float("nan"), float("inf"), 5e-324, 0.5),
    *("", " ", "고양이", "a\nb", "\udcff", "../x.py:f", "x:y", "~nobody/x", "all"),
    *((), (1e308,), (0,), ("all", "-"), ("margin", "margin"), (None, ()), [], {}, {"a": 1}, b"x"),
]
text = st.text(st.characters(exclude_characters="\0"), max_size=12)
shown = [str(value) for value in EXTREME if value != 10**5000]
values = st.one_of(st.sampled_from([*shown, "(" * 300]), text)
names = st.one_of(st.sampled_from([*FIELDS, "train", "model"]), text)
flags = st.builds("--config.{}={}".format, names, values)
others = st.sampled_from(["--help", "--version", "--config", "--"])
words = st.lists(st.one_of(flags, text, others), max_size=4)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_takes_an_extreme_value_or_refuses_it_in_a_line(name):
    for value in EXTREME:
        config = nested({other: field.default for other, field in FIELDS.items()} | {name: value})
        try:
            check(config)
        except InvalidInputError as error:
            refusal = str(error)
            assert refusal.startswith("config."), value
            assert "\n" not in refusal, value


@QUICK
@given(words)
@example(["--config.train.milestones=" + "(" * 300])
@example(["--config.budget=" + "1" * 5000])
@example(["--workdir=~nobody/x", "--config=~nobody/x.py"])
def test_any_command_line_is_run_or_refused_in_a_line(arguments):
    """Up to where a run would begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "run", lambda *_: 0)
        status, _, errors = called(lambda: launcher.main(arguments))
    assert status in (0, 2), arguments
    assert status == 0 or (errors.startswith("aljax: ") and errors.count("\n") == 1)


@QUICK
@given(st.sampled_from(["report", "verify", "repair", "join", "", "runn"]), words)
def test_any_other_command_is_refused_in_a_line(tmp_path_factory, command, arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        status, _, errors = called(lambda: cli.main([command, *arguments]))
    assert status in (0, 1, 2), (command, arguments)
    assert "Traceback" not in errors


def called(command):
    """Calls a command; returns its status, its output and its errors."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = command()
        except SystemExit as end:
            status = end.code or 0
    return status, output.getvalue(), errors.getvalue()


# Readers

scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5))
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
strange_arrays = st.sampled_from(
    [
        *(np.zeros(0), np.zeros((3, 3)), np.array("x"), np.int8(1), np.arange(4), np.array([-1, 0, 1, 2])),
        *(np.full(size, value) for size in (4, 10) for value in (np.nan, -1, 2**40)),
    ]
)
FIELDS_OF_LINES = [
    *("trial", "cycle", "labeled", "budget", "subset_size", "overlap", "chance", "accuracy", "C", "stopped"),
    *("distance", "radius", "spearman", "classes", "entropy", "a", "b", "doubts", "train", "epochs", "ties"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("whole") / "run")


def reads(run):
    """Calls everything that reads a run directory; each ends well or with an error of one line."""
    for command in ("verify", "report"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("aljax.report.figures.draw", lambda shown: [])
            status, _, errors = called(lambda command=command: cli.main([command, str(run)]))
        assert status in (0, 1, 2), command
        assert "Traceback" not in errors


@settings(QUICK, max_examples=15)
@given(
    st.sampled_from(["cycles.jsonl", "timings.jsonl", "pairs.jsonl", "diagnostics.jsonl"]),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from(FIELDS_OF_LINES), json_values, max_size=2),
    st.sets(st.sampled_from(FIELDS_OF_LINES), max_size=2),
)
def test_lines_with_a_right_checksum_may_hold_anything(whole, name, number, changed, dropped):
    """As if written by another program: the checksum is no reason to trust what is in a line."""
    read_with(whole, name, number, changed, dropped)


@pytest.mark.parametrize("name", KINDS)
def test_whatever_may_be_null_is_read_as_null(whole, name):
    """All fields of a line at once, and each of those that a reader computes with by itself."""
    record = lines.decoded((whole / name).read_bytes().splitlines(keepends=True)[0])
    fields = [field for field in {**KINDS[name], **record} if field not in ("trial", "cycle")]
    computed = [field for field in fields if field in ("labeled", "train", "C", "accuracy", "classes")]
    for changed in (dict.fromkeys(fields), *({field: None} for field in computed)):
        read_with(whole, name, 0, changed, set())


def read_with(run, name, number, changed, dropped):
    """Reads a run whose line of a file has other values, or lacks some."""
    path = run / name
    before = path.read_bytes()
    kept = before.splitlines(keepends=True)
    record = {k: v for k, v in (lines.decoded(kept[number]) | changed).items() if k not in dropped}
    kept[number] = encoded(record)
    try:
        path.write_bytes(b"".join(kept))
        reads(run)
    finally:
        path.write_bytes(before)


def encoded(record):
    content = json.dumps(record).encode()  # NaN and Infinity too
    separator = b", " if record else b""
    return b'%s%s"sha256": "%s"}\n' % (content[:-1], separator, lines.digest(content).encode())


@settings(QUICK, max_examples=15)
@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "train", "dataset", "versions", "device", "x"]), json_values, max_size=3
    )
)
def test_a_config_may_hold_anything(whole, changed):
    path = whole / "config.json"
    before = path.read_bytes()
    stored = json.loads(before)
    for name, value in changed.items():
        group, _, last = name.rpartition(".")
        target = stored.get(group) if group else stored
        if isinstance(target, dict):
            target[last] = value
    try:
        path.write_text(json.dumps(stored))
        reads(whole)
    finally:
        path.write_bytes(before)


@settings(QUICK, max_examples=60)
@given(st.binary(max_size=200), st.one_of(st.none(), json_values))
@example(b"[" * 200_000, None)
@example(b'{"trial": NaN, "cycle": 1e999}', None)
def test_a_reader_takes_any_bytes_or_refuses_them(tmp_path_factory, content, value):
    run = tmp_path_factory.getbasetemp() / "bytes"
    run.mkdir(exist_ok=True)
    for one in (
        content,
        b"PK\x03\x04" + content,
        json.dumps(value).encode(),
        encoded({"files": value, "finished": value}),
    ):
        for name in ("cycles.jsonl", "config.json", manifest.NAME, "cycle-01.npz"):
            (run / name).write_bytes(one)
        for read in (
            lambda: files.read_lines(run / "cycles.jsonl"),
            lambda: stored_config.load(run / "config.json"),
            lambda: stored_config.checked(run / "config.json"),
            lambda: manifest.load(run),
            lambda: reader.load(run),
            lambda: list(verify.problems(run)),
        ):
            with contextlib.suppress(InvalidInputError):
                read()
        assert selections.load(run / "cycle-01.npz") is None
        with pytest.raises(ValueError, match="damaged"):
            diagnostics.unpacked(run / "cycle-01.npz")


@settings(QUICK, max_examples=15)
@given(
    st.dictionaries(
        st.sampled_from([*selections.Selections._fields, "details/arrivals", "compared/x"]), strange_arrays
    )
)
def test_selections_may_hold_any_arrays(whole, changed):
    read_with_other_arrays(whole, selections.path_of(whole, 3, 2), changed)


@settings(QUICK, max_examples=15)
@given(st.dictionaries(st.sampled_from(diagnostics.Gallery._fields), strange_arrays, min_size=1))
def test_a_gallery_may_hold_any_arrays(whole, changed):
    read_with_other_arrays(whole, diagnostics.path_of(whole, 3, 2), changed)


def read_with_other_arrays(run, path, changed):
    before = path.read_bytes()
    try:
        path.write_bytes(arrays.packed(arrays.unpacked(path) | changed))
        reads(run)
    finally:
        path.write_bytes(before)
