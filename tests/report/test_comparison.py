import pytest
from scipy import stats

from aljax.records import files, reader
from aljax.report import claims, comparison
from tests.harness import make_run


def test_a_difference_needs_a_paired_test():
    a, b = {0: 0.5, 1: 0.6, 2: 0.7, 3: 0.1}, {0: 0.4, 1: 0.45, 2: 0.58, 9: 0.0}
    found = comparison.paired("a minus b", a, b)
    assert found.trials == 3
    assert found.p == pytest.approx(stats.ttest_rel([0.5, 0.6, 0.7], [0.4, 0.45, 0.58]).pvalue)
    assert found.mean == pytest.approx((0.1 + 0.15 + 0.12) / 3)
    assert found.verdict == "differ"
    assert comparison.paired("", a, {0: 0.9, 1: 0.2, 2: 0.7}).verdict == "no difference shown"
    assert comparison.paired("", {0: 1.0}, {0: 0.5}).verdict == claims.TOO_FEW
    assert comparison.paired("", {}, {}).mean is None
    same = comparison.paired("", {0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6})
    assert (same.mean, same.p, same.verdict) == (0, None, claims.ALL_EQUAL)


def accuracies(path, labels):
    """Loads a run with other numbers of labels [T][cycles] and accuracies that tell them."""
    lines, _ = files.read_lines(path / "cycles.jsonl")
    kept = []
    for line in lines:
        if line["cycle"] <= len(labels[line["trial"]]):
            count = labels[line["trial"]][line["cycle"] - 1]
            kept.append({**line, "labeled": count, "accuracy": count / 1_000 + 0.01 * line["trial"]})
    (path / "cycles.jsonl").write_bytes(b"".join(map(files.encoded, kept)))
    return reader.load(path)


def test_accuracy_is_compared_at_the_same_number_of_labels(tmp_path):
    a = accuracies(make_run(tmp_path / "a", trials=2), [[10, 20, 30, 40], [10, 20, 30, 40]])
    b = accuracies(make_run(tmp_path / "b", trials=3, seed=1), [[20, 40, 60], [20, 30, 60], [40]])
    assert (comparison.last_shared(*(comparison.by_labels(run.lines) for run in (a, b)))) == 20
    found = comparison.differences([a, b])
    assert [gap.text for gap in found] == ["C at cycle 3: b minus a", "accuracy at 20 labels: b minus a"]
    assert (found[1].trials, found[1].mean) == (2, 0)


def test_where_no_number_of_labels_is_shared_the_page_says_so(tmp_path):
    a = accuracies(make_run(tmp_path / "a", trials=2), [[10, 20, 30], [10, 20, 30]])
    b = accuracies(make_run(tmp_path / "b", trials=2, seed=1), [[10, 20], [25, 35]])
    last = comparison.differences([a, b])[-1]
    assert last.verdict == "not compared"
    assert "no number of labels is in both" in last.text
    other = reader.load(make_run(tmp_path / "c", trials=2, dataset={"name": "birds"}))
    assert [gap.text for gap in comparison.differences([a, other])] == ["C at cycle 3: c minus a"]
