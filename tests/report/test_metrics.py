"""Metrics in the table of cycles and among the figures, where the config asked for them."""

from aljax.records import files, reader, summary
from aljax.report import figures, text
from tests.harness import make_run


def with_metrics(path):
    run = make_run(path, trials=2, cycles=2)
    lines, _ = files.read_lines(run / "cycles.jsonl")
    (run / "cycles.jsonl").write_bytes(b"")
    for number, line in enumerate(lines):
        of_classes = {"ant": 0.5, "bee": 0.25 * (number % 2), "cat": None}
        files.append(run / "cycles.jsonl", {**line, "ece": 0.125, "per_class_accuracy": of_classes})
    return reader.load(run)


def test_a_metric_has_a_column_and_the_classes_a_figure(tmp_path):
    run = with_metrics(tmp_path / "with")
    rows = summary.summarize(run.lines)
    assert text.headings(rows)[-1] == "ECE"
    assert [cells[-1] for cells in text.cells(rows)] == ["0.125 \u00b1 0.000"] * 2
    (drawn,) = figures.class_accuracy([run])
    assert drawn.name == "class-accuracy"


def test_without_metrics_there_is_neither(tmp_path):
    run = reader.load(make_run(tmp_path / "without", trials=1, cycles=2))
    assert text.headings(summary.summarize(run.lines)) == text.HEADINGS
    assert figures.class_accuracy([run]) == []
