"""Seconds per selection of every strategy: python -m benchmarks.strategies

The features are those of a network, nearly: clusters, and ReLU (see benchmarks/kcenter.py). The
class is a linear function of them, and an ensemble's models differ by noise. The first selection
compiles; the second is what a later cycle pays.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax.runtime import mesh
from aljax.strategies import STRATEGIES, View, needs_of, select
from benchmarks import common
from benchmarks.kcenter import clustered


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


def measured(name: str, view: View, budget: int) -> dict[str, object]:
    """A row of the table: two selections with keys of their own."""
    notes: list[str] = []

    def run(seed: int) -> None:
        notes.append(select(name, jax.random.key(seed), view, budget).note)

    first, later = (common.seconds(partial(run, seed)) for seed in range(2))
    needed = ", ".join(sorted(needs_of(STRATEGIES[name])))
    return {
        "strategy": name,
        "needs": needed or "-",
        "first (s)": first,
        "later (s)": later,
        "note": notes[-1],
    }


def main() -> None:
    """Times each strategy twice, one after the other, and prints the table."""
    arguments = common.parser(__doc__)
    arguments.add_argument("--size", choices=SIZES, default="cifar10")
    arguments.add_argument("--only", choices=STRATEGIES, action="append", help="may be given again")
    options = arguments.parse_args()
    size = SIZES[options.size]
    view = view_of(size)
    rows = []
    for name in options.only or STRATEGIES:
        rows.append(measured(name, view, size.budget))
        print(rows[-1], flush=True)
    common.show(
        f"{size.budget:,} of {size.subset:,} x {size.dimensions}, {size.labeled:,} labeled, "
        f"{mesh.cores()} cores, {view.mesh.size} x {view.mesh.devices.flat[0].device_kind}",
        rows,
    )
    common.write(options.out, {"size": size._asdict(), "strategies": rows})


if __name__ == "__main__":
    main()
