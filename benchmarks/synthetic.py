"""ThreeClust and DivergingSin as files of embeddings: python -m benchmarks.synthetic --out FOLDER.

The two-dimensional data sets of CDALBench, whose tables say how eight strategies fare on them. Drawn once,
as there; a run on one is `python launch.py --config=configs/embeddings.py --config.model.name=linear
--config.dataset.data_dir=FOLDER/three_clust.npz`, with the budget and cycles that it is to have.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aljax.data import synthetic
from aljax.records import files

MADE = {"three_clust": synthetic.three_clust, "diverging_sin": synthetic.diverging_sin}


def packed(drawn: synthetic.Points) -> bytes:
    """Returns points as the content of a file of embeddings, with the split that is theirs."""
    content = io.BytesIO()
    np.savez(
        content,
        features=np.concatenate([drawn.train, drawn.test]),
        labels=np.concatenate([drawn.train_labels, drawn.test_labels]),
        split=np.repeat(["train", "test"], [len(drawn.train), len(drawn.test)]),
    )
    return content.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the files; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    given = parser.parse_args(arguments)
    for name, make in MADE.items():
        path = given.out / f"{name}.npz"
        files.write(path, packed(make(np.random.default_rng(given.seed))))
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
