import itertools
import re

from aljax.records import files, reader, summary
from aljax.report import claims, terminal, text
from tests.harness import config_of, make_run


def rows(ties=None):
    lines = [
        {**dict.fromkeys(summary.MEASURES, 0.1 * t), "trial": t, "cycle": c, "labeled": 10 * c, "chance": 5.0}
        for t in range(4)
        for c in (1, 2)
    ]
    for line, count in zip(lines, ties or (), strict=False):
        line["ties"] = count
    return summary.summarize(lines)


def test_the_cells_are_means_and_standard_deviations():
    assert text.headings(rows()) == text.HEADINGS
    assert text.cells(rows())[1] == ("2", "20", "15.0 ± 12.9", "0.2 ± 0.1", "5", "+0.150 ± 0.129")
    assert text.plus_minus({"mean": None, "sd": None, "low": None, "high": None}, ".1f") == "-"


def test_ties_are_shown_where_there_are_any():
    assert text.headings(rows([0] * 8)) == text.HEADINGS
    tied = rows([0, 3, 0, 5, 0, 3, 0, 5])
    assert text.headings(tied)[-1] == "tied at the cut"
    assert [cells[-1] for cells in text.cells(tied)] == ["0.0 ± 0.0", "4.0 ± 1.2"]


def test_the_title_says_that_trials_differ_in_length():
    assert text.title(rows()) == "means over 4 trials ± standard deviation"
    assert text.title([{"trials": 1}]) == "means over 1 trial ± standard deviation"
    assert text.title([{"trials": 2}, {"trials": 1}]) == "means over 1 to 2 trials ± standard deviation"


def test_of_many_sentences_the_first_are_shown():
    assert text.first(["a", "b"]) == ["a", "b"]
    assert text.first(list("abcdefg"), most=5) == [*"abcde", "... and 2 more like these"]


def test_a_run_that_is_not_the_study_says_so(tmp_path):
    run = reader.load(make_run(tmp_path / "run"))
    *judged, last = terminal.verdict(run)
    assert all(claims.REPRODUCED not in line for line in judged)
    assert re.fullmatch(r"not the study: the config differs from configs/cifar10.py in \d+ fields", last)
    study = run._replace(config={**config_of("cifar10"), "cycles": 10})
    assert not any("not the study" in line for line in terminal.verdict(study))


def test_doubts_are_printed_and_withhold_the_verdict(tmp_path, capsys):
    path = make_run(tmp_path / "run")
    lines, _ = files.read_lines(path / "cycles.jsonl")
    lines[0]["doubts"] = ["accuracy is no better than chance"]
    files.write(path / "cycles.jsonl", b"".join(map(files.encoded, lines)))
    terminal.show(path)
    printed = capsys.readouterr().out
    assert "Trial 0, cycle 1: accuracy is no better than chance" in printed
    assert "verdict on the study's claims is withheld" in printed
    assert "C is negative" not in printed


def test_a_matrix_that_is_wider_than_the_terminal_is_in_the_report_alone(tmp_path, capsys, monkeypatch):
    path = make_run(tmp_path / "run", lines=2)
    (path / "pairs.jsonl").write_text("")
    names = [f"strategy_{number}" for number in range(19)]
    for cycle in (1, 2):
        for a, b in itertools.combinations(names, 2):
            files.append(path / "pairs.jsonl", {"trial": 0, "cycle": cycle, "a": a, "b": b, "C": 0.41})
    for columns, wide in (("80", False), ("200", True)):
        monkeypatch.setenv("COLUMNS", columns)
        terminal.show(path)
        printed = capsys.readouterr().out
        assert ("C of every pair of 19 strategies in cycle 2: too wide" in printed) == (not wide)
        assert ("19 strategy_18" in printed) == wide
        assert "…" not in printed
