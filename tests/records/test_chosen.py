import csv
import io

import numpy as np
import pytest

from aljax.errors import RunError
from aljax.records import chosen, manifest
from aljax.records.selections import Selections

IDS = [f"cat/{row}.png" for row in range(20)]


def selected(**fields):
    arrays = {
        "subset": np.array([2, 3, 5, 7, 11]),
        "uncertainty": np.array([7, 2]),
        "diversity": np.array([2, 11]),
        "acquired": np.array([7, 2]),
        "scores": np.array([0.5, 0.25, -1, 1e-7, 0.1], np.float32),
        "compared": {},
        "compared_scores": {},
        "details": {},
    }
    return Selections(**{**arrays, **fields})


PAIR = {"uncertainty": "entropy", "diversity": "core_set"}
CASES = {
    "the pair": (
        selected(),
        (PAIR, "uncertainty"),
        """file,rank,score,entropy,core_set
           cat/7.png,1,1e-07,1,
           cat/2.png,2,0.5,2,1
           cat/11.png,,0.1,,2""",
    ),
    "diversity acquires": (
        selected(acquired=np.array([2, 11])),
        (PAIR, "diversity"),
        """file,rank,score,entropy,core_set
           cat/2.png,1,0.5,2,1
           cat/11.png,2,0.1,,2
           cat/7.png,,1e-07,1,""",
    ),
    "another acquires": (
        selected(acquired=np.array([5, 2]), scores=np.empty(0, np.float32)),
        ({**PAIR, "strategy margin": "margin"}, "strategy margin"),
        """file,rank,score,entropy,core_set,margin
           cat/5.png,1,,,,1
           cat/2.png,2,,2,1,2
           cat/7.png,,,1,,
           cat/11.png,,,,2,""",
    ),
    "compared": (
        selected(compared={"entropy": np.array([7, 2]), "badge": np.array([3, 2])}),
        ({**PAIR, "strategy badge": "badge"}, "uncertainty"),
        """file,rank,score,entropy,core_set,badge
           cat/7.png,1,1e-07,1,,
           cat/2.png,2,0.5,2,1,2
           cat/11.png,,0.1,,2,
           cat/3.png,,0.25,,,1""",
    ),
    "without a model": (
        selected(),
        ({"uncertainty": "random", "diversity": "random", "strategy margin": "random"}, "uncertainty"),
        """file,rank,score,random (uncertainty),random (diversity)
           cat/7.png,1,1e-07,1,
           cat/2.png,2,0.5,2,1
           cat/11.png,,0.1,,2""",
    ),
    "nothing queried of a stream": (
        selected(uncertainty=np.empty(0, int), diversity=np.empty(0, int), acquired=np.empty(0, int)),
        (PAIR, "uncertainty"),
        "file,rank,score,entropy,core_set",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_chosen_is_listed(case):
    selections, (names, acquired), expected = CASES[case]
    lines = chosen.content(selections, names, acquired, IDS).decode().splitlines()
    assert lines == [line.strip() for line in expected.splitlines()]


def test_images_that_were_made_are_named_by_their_files():
    made = selected(
        subset=np.arange(5),
        uncertainty=np.array([3, 1]),
        diversity=np.array([4, 1]),
        acquired=np.array([3, 1]),
        details={"images": np.empty(0)},
    )
    content = chosen.content(made, PAIR, "uncertainty", chosen.ids_of(made, IDS, trial=0, cycle=2))
    assert content.decode().splitlines()[1:] == [
        "selections/trial-00/cycle-02/000.png,1,1e-07,1,",
        "selections/trial-00/cycle-02/001.png,2,0.25,2,2",
        "proposal 4,,0.1,,1",
    ]


def test_a_list_that_is_listed_is_replaced_by_itself_alone(tmp_path):
    path = chosen.path_of(tmp_path, 3, 12)
    assert path == tmp_path / "chosen" / "trial-03" / "cycle-12.csv"
    chosen.save(tmp_path, 3, 12, selected(), PAIR, "uncertainty", IDS)
    written = path.read_bytes()
    assert written == chosen.content(selected(), PAIR, "uncertainty", IDS)
    manifest.begin(tmp_path)
    manifest.enter(tmp_path, ["chosen/trial-03/cycle-12.csv"])
    path.unlink()
    with pytest.raises(RunError, match=r"cycle-12\.csv: missing or damaged, and made again it is not what"):
        chosen.save(tmp_path, 3, 12, selected(), PAIR, "uncertainty", IDS[::-1])
    assert not path.exists()
    chosen.save(tmp_path, 3, 12, selected(), PAIR, "uncertainty", IDS)
    assert path.read_bytes() == written


def test_any_name_fits_into_a_table():
    rows = [['a, "b"', "é"], ["=1+1", "고양이"]]
    content = chosen.table(["file", "reason"], rows).decode()
    assert list(csv.reader(io.StringIO(content))) == [["file", "reason"], *rows]
