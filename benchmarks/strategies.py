"""Seconds per selection of every strategy: python -m benchmarks.strategies

The features are those of a network, nearly: clusters, and ReLU (see benchmarks/kcenter.py). The
class is a linear function of them, and an ensemble's models differ by noise. The first selection
compiles; the later ones, of which the median is taken, are what a later cycle pays. Beside them, once, stands
what other code takes (see benchmarks/strategy_peers.py), where it is installed: scikit-activeml, and what the
papers' authors do. With --only, --out keeps what the file tells of the other strategies.
"""

import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax.runtime import mesh
from aljax.strategies import STRATEGIES, View, needs_of, select
from benchmarks import common
from benchmarks.kcenter import clustered
from benchmarks.strategy_peers import AUTHORS, FEW, METHODS, MORE, Problem, scikit_activeml, small


class Size(NamedTuple):
    """A selection: the sub-pool, labeled images, budget, features, classes, models of the ensemble."""

    subset: int
    labeled: int
    budget: int
    dimensions: int
    classes: int
    members: int


SIZES = {
    "tiny": Size(300, 100, 30, 16, 3, 2),
    "digits": Size(500, 500, 50, 512, 10, 3),
    "cifar10": Size(10_000, 5_000, 1_000, 512, 10, 5),
}


PEERS = {"scikit-activeml": ["scikit-activeml"], "authors": ["scikit-learn", "torch"]}  # and their packages


def view_of(size: Size, seed: int = 0) -> View:
    """A sub-pool of random images, as the model would show it."""
    rng = np.random.default_rng(seed)
    features = clustered(rng, size.subset + size.labeled, size.dimensions)
    logits = features[: size.subset] @ rng.normal(0, size.dimensions**-0.5, (size.dimensions, size.classes))
    noise = rng.normal(0, 0.5, (size.members, size.subset, size.classes))
    return View(
        size.subset,
        mesh.local(0, size.budget),
        size.labeled,
        log_probs=jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)),
        predicted_loss=jnp.asarray(rng.gamma(1, 1, size.subset), jnp.float32),
        features=jnp.asarray(features[: size.subset]),
        labeled_features=jnp.asarray(features[size.subset :]),
        member_log_probs=jax.nn.log_softmax(jnp.asarray(logits + noise, jnp.float32)),
        dropout_classes=jnp.asarray((logits + noise[:2]).argmax(-1).T, jnp.int32),
        num_classes=size.classes,
    )


def problem_of(size: Size, view: View) -> Problem:
    """The same for the peers; the labels are random."""
    labels = np.random.default_rng(0).integers(0, size.classes, size.labeled)
    features = np.asarray(view.features), np.asarray(view.labeled_features)
    return Problem(*features, labels, size.classes, size.members, size.budget)


def measured(name: str, view: View, budget: int, repeats: int) -> dict[str, Any]:
    """A row of the table: selections with keys of their own."""
    notes: list[str] = []

    def run(seed: int) -> None:
        notes.append(select(name, jax.random.key(seed), view, budget).note)

    first, *later = (common.seconds(partial(run, seed)) for seed in range(1 + repeats))
    needed = ", ".join(sorted(needs_of(STRATEGIES[name])))
    return {
        "strategy": name,
        "needs": needed or "-",
        "first (s)": first,
        "later (s)": float(np.median(later)),
        "from": min(later),
        "to": max(later),
        "note": notes[-1],
    }


def measured_peers(name: str, problem: Problem, peers: Collection[str]) -> dict[str, float | None]:
    """Seconds of each peer for the whole batch; None where it has no such strategy."""
    runs: dict[str, Callable[[Problem], Callable[[], int]]] = {}
    if name in METHODS and "scikit-activeml" in peers:
        runs["scikit-activeml"] = lambda problem: scikit_activeml(name, problem)
    if name in AUTHORS and "authors" in peers:
        runs["authors"] = lambda problem: partial(AUTHORS[name], problem)
    found: dict[str, float | None] = dict.fromkeys(peers)
    for peer, prepared in runs.items():
        prepared(small(problem))()  # what is imported at the first call does not count

        def taken(budget: int, prepared: Callable[[Problem], Callable[[], int]] = prepared) -> float:
            return common.seconds(prepared(problem._replace(budget=budget)))

        if peer == "scikit-activeml" and METHODS[name][2] and problem.budget > MORE:
            few, more = taken(FEW), taken(MORE)
            found[peer] = few + (problem.budget - FEW) * max(0, more - few) / (MORE - FEW)
        else:
            found[peer] = taken(problem.budget)
    return found


def with_earlier(rows: list[dict[str, Any]], path: Path | None, size: Size) -> list[dict[str, Any]]:
    """Adds what a file already tells of other strategies at this size, so that parts make up a whole."""
    found = {}
    if path and path.exists() and (earlier := json.loads(path.read_text()))["size"] == size._asdict():
        found = {row["strategy"]: row for row in earlier["strategies"]}
    found |= {row["strategy"]: row for row in rows}
    return [found[name] for name in STRATEGIES if name in found]


def main() -> None:
    """Times each strategy, one after the other, with its peers, and prints the table."""
    arguments = common.parser(__doc__)
    arguments.add_argument("--size", choices=SIZES, default="cifar10")
    arguments.add_argument("--only", choices=STRATEGIES, action="append", help="may be given again")
    arguments.add_argument("--repeats", type=int, default=3, help="later selections")
    arguments.add_argument("--against", nargs="*", choices=PEERS, default=PEERS, help="the peers")
    options = arguments.parse_args()
    size = SIZES[options.size]
    view = view_of(size)
    peers = [peer for peer in options.against if all(map(common.version, PEERS[peer]))]
    rows = []
    for name in options.only or STRATEGIES:
        row = measured(name, view, size.budget, options.repeats)
        for peer, seconds in measured_peers(name, problem_of(size, view), peers).items():
            row |= {f"{peer} (s)": seconds, f"{peer} ratio": seconds and seconds / row["later (s)"]}
        rows.append(row)
        print(row, flush=True)
    common.show(
        f"{size.budget:,} of {size.subset:,} x {size.dimensions}, {size.labeled:,} labeled, "
        f"{mesh.cores()} cores, {view.mesh.size} x {view.mesh.devices.flat[0].device_kind}",
        [{key: value for key, value in row.items() if key not in ("needs", "note")} for row in rows],
    )
    common.write(options.out, {"size": size._asdict(), "strategies": with_earlier(rows, options.out, size)})


if __name__ == "__main__":
    main()
