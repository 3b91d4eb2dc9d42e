"""CDALBench's protocol, written anew."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import cdalbench
from benchmarks.cdalbench import Network, State

NETWORK = Network((4,))
SMALL = cdalbench.THREE_CLUST._replace(hidden=(4,), budget=4, query=2)


@pytest.fixture(scope="module")
def draw():
    return cdalbench.drawn(SMALL, repetition=0, seed=0)


def test_nadam_moves_as_the_papers_algorithm_by_hand():
    gradients = [0.5, -0.25, 1.0, 0.125]
    optimizer = cdalbench.nadam(0.1)
    state, moved = optimizer.init(jnp.zeros(())), []
    for gradient in gradients:
        move, state = optimizer.update(jnp.asarray(gradient), state)
        moved.append(float(move))
    m = v = 0.0
    product, expected = 1.0, []
    for t, g in enumerate(gradients, start=1):
        now, later = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in (t, t + 1))
        product *= now
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        ahead = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
        expected.append(-0.1 * ahead / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8))
    np.testing.assert_allclose(moved, expected, rtol=1e-4)
    assert moved[0] == pytest.approx(-0.1 * (1 + 0.1 * 0.45 / (1 - 0.45**2)), rel=1e-3)  # sqrt(v) is |g|


def test_a_repetition_begins_with_a_point_of_each_class_and_overlaps_nowhere(draw):
    assert (len(draw.pool), len(draw.validation), len(draw.test)) == (384, 96, 120)
    assert draw.labels[draw.first].tolist() == [0, 1]
    assert not {map(tuple, draw.pool)} & {map(tuple, draw.validation)}
    other = cdalbench.drawn(SMALL, repetition=1, seed=0)
    assert not np.array_equal(other.pool, draw.pool)


@pytest.fixture(scope="module")
def fit(draw):
    def fitted(patience, most, count, data=draw):
        state = cdalbench.begun(NETWORK, jax.random.key(0), 2)
        labeled = np.arange(8, dtype=np.int32)
        key = jax.random.key(1)
        return state, cdalbench.fitted(NETWORK, patience, state, data, labeled, count, most, key)

    return fitted


def test_only_the_labeled_points_teach(draw, fit):
    _, one = fit(50, 3, 4)
    others = draw._replace(labels=np.where(np.arange(len(draw.labels)) < 4, draw.labels, 1 - draw.labels))
    _, two = fit(50, 3, 4, others)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_training_ends_when_the_validation_loss_has_not_fallen_for_so_long(draw, fit):
    wrong = draw._replace(validation=draw.pool[:8], validation_labels=1 - draw.labels[:8])
    begun, ended = fit(3, 100, 8, wrong)  # what is learned makes the loss on these rise
    assert int(ended.optimizer[0]) <= 10
    assert int(fit(100, 20, 8, wrong)[1].optimizer[0]) == 20
    assert isinstance(ended, State)
    assert not np.array_equal(*(jax.tree.leaves(state.params)[0] for state in (begun, ended)))


@pytest.mark.parametrize("strategy", ["margin", "core_set"])
def test_curves_have_an_accuracy_before_and_after_each_query(strategy):
    accuracies = cdalbench.curves(SMALL, strategy, repetitions=2, seed=0)
    assert accuracies.shape == (2, 3)
    assert ((accuracies >= 0) & (accuracies <= 1)).all()


def test_a_choice_is_of_points_that_are_left(draw):
    rng = np.random.default_rng(0)
    outputs = {"log_probs": np.log(rng.dirichlet((1, 1), 384)).astype(np.float32)}
    labeled = np.arange(380, dtype=np.int32)
    chosen = cdalbench.chosen_by(SMALL, "margin", jax.random.key(0), outputs, labeled)
    gaps = np.abs(np.diff(np.exp(outputs["log_probs"][380:]))[:, 0])
    assert sorted(chosen.tolist()) == sorted((380 + np.argsort(gaps)[:2]).tolist())
    some = cdalbench.chosen_by(
        SMALL._replace(candidates=3), "random", jax.random.key(0), outputs, labeled[:9]
    )
    assert (some >= 9).all()


def test_the_oracle_takes_the_point_that_helps_most_and_trains_as_it_tried(monkeypatch):
    seen = []

    def best_of(candidates, scores, found):
        taken = chosen(candidates, scores, found)
        seen.append((candidates, scores, found["accuracy"], taken))
        return taken

    chosen = cdalbench.best_of
    monkeypatch.setattr(cdalbench, "best_of", best_of)
    accuracies = cdalbench.curves(SMALL._replace(query=1, budget=3), "oracle", repetitions=2, seed=0)
    assert accuracies.shape == (2, 4)
    assert len(seen) == 3
    for step, (candidates, scores, before, taken) in enumerate(seen):
        np.testing.assert_array_equal(before, accuracies[:, step])
        for t in range(2):
            assert len(set(candidates[t])) == cdalbench.TRIED
            after = scores[t][list(candidates[t]).index(taken[t])]
            assert after == pytest.approx(accuracies[t, step + 1], abs=1e-6)
            assert after == scores[t].max() or scores[t].max() <= before[t]


def test_where_no_point_helps_the_oracle_takes_the_smallest_margin():
    log_probs = np.log(np.array([[[0.9, 0.1], [0.45, 0.55], [0.3, 0.7], [0.5, 0.5]]] * 2, np.float32))
    found = {"accuracy": np.array([0.8, 0.6], np.float32), "log_probs": log_probs}
    scores = np.array([[0.8, 0.7, 0.1], [0.5, 0.6, 0.7]], np.float32)
    assert list(cdalbench.best_of(np.array([[0, 1, 2], [0, 1, 2]]), scores, found)) == [1, 2]


def test_a_run_is_compared_and_not_repeated(tmp_path, monkeypatch):
    asked = []

    def curves(protocol, strategy, repetitions, seed):
        asked.append((strategy, protocol.fresh))
        return np.linspace(0.70, 0.74, repetitions)[:, None] + np.zeros((1, 3))

    monkeypatch.setattr(cdalbench, "curves", curves)
    table = "ThreeClust, 1 at a time"
    command = [f"--out={tmp_path}", f"--table={table}", "--strategy=random", "--strategy=badge"]
    assert cdalbench.main(command) == cdalbench.main(command) == cdalbench.main([*command, "--fresh"]) == 0
    assert asked == [("random", False), ("badge", False), ("random", True), ("badge", True)]
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [(row["strategy"], row["auc"], row["inside"]) for row in rows[:2]] == [
        ("random", "0.72", "yes"),  # published 0.721
        ("badge", "0.72", "no"),  # published 0.690, with a standard error of 0.012
    ]
    assert float(rows[0]["low"]) == pytest.approx(0.72 - 2.0096 * float(rows[0]["sd"]) / 50**0.5, abs=1e-4)
