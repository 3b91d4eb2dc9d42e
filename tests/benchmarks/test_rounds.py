import json

import pytest

from benchmarks import rounds


def test_rounds_come_near_one_block_of_all(tmp_path, capsys):
    rounds.main(
        [
            "--scale",
            "0.1",
            "--budget",
            "10",
            "--draws",
            "2",
            "--dimensions",
            "4",
            "--out",
            str(tmp_path / "f"),
        ]
    )
    rows = json.loads((tmp_path / "f").read_text())["rounds"]
    assert {(row["method"], row["points"]) for row in rows} == {
        (method, kind) for method in rounds.POINTS for kind in rounds.KINDS
    }
    for row in rows:
        assert row["ratios"] == 2
        least = 0.2 if row["method"] == "probcover" else 0.8  # few points judge, or none near
        assert least < row["lowest"] <= row["highest"] < 1.1  # greedy choices: rounds may be the better ones
    assert "k-center" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", rounds.KINDS)
def test_k_center_in_rounds_has_at_most_1_1_times_the_greedy_radius(kind, seed):
    found = rounds.ratios("k-center", kind, count=3_000, dimensions=3 + 9 * seed, budget=20, seed=seed)
    assert max(found.values()) <= 1.1
