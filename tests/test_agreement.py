import math
import subprocess
import sys
from fractions import Fraction

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax import agreement


def test_correlation_of_the_study():
    c = agreement.correlation([0, 39, 100, 404, 1000], budget=1000, subset_size=10_000)
    chex.assert_trees_all_close(c, np.array([-1, -0.3556, 0, 0.5957, 1]), atol=5e-5)


def test_correlation_is_not_the_straight_line():
    line = (404 - 100) / (1000 - 100)
    assert abs(agreement.correlation(404, 1000, 10_000) - line) > 0.2


@pytest.mark.parametrize("subset_size", [9, 10, 11, 12, 100])
def test_correlation_has_its_three_points(subset_size):
    budget = 5
    low = max(0, 2 * budget - subset_size)
    chance, full = budget**2 / subset_size, budget
    c = agreement.correlation([low, chance, full], budget, subset_size)
    chex.assert_trees_all_close(c[1:], np.array([0.0, 1.0]), atol=1e-12)
    assert c[0] == pytest.approx(-1) if low == 0 else -1 < c[0] < 0


def test_correlation_is_continuous_at_one_half():
    at = agreement.correlation([0, 1, 2.5, 5], 5, 10)
    chex.assert_trees_all_close(at, np.array([-1, -0.6, 0, 1]), atol=1e-12)
    chex.assert_trees_all_close(at, agreement.correlation([0, 1, 2.5, 5], 5, 10 + 1e-9), atol=1e-8)


SIZES = st.one_of(st.integers(2, 2000), st.integers(2, 10**9)).flatmap(
    lambda m: st.tuples(st.integers(1, m - 1), st.just(m))
)


@settings(deadline=None)
@given(SIZES, st.floats(0, 1))
def test_correlation_stays_within_its_bounds_and_is_1_of_equal_selections(sizes, share):
    budget, subset_size = sizes
    least = max(0, 2 * budget - subset_size)
    n = np.array([least, least + share * (budget - least), round(least + share * (budget - least)), budget])
    c = agreement.correlation(np.minimum(n, budget), budget, subset_size)
    assert np.all((c >= -1) & (c <= 1))
    assert c[-1] == 1


@pytest.mark.parametrize("subset_size", [10, 1_000, 10_000])
def test_correlation_near_the_whole_sub_pool_is_exact(subset_size):
    """Of M - 1 images, two selections share M - 2 or M - 1: by the formula with fractions."""
    budget, n = subset_size - 1, subset_size - 2
    r = Fraction(budget, subset_size)
    inside = 1 + (1 - 2 * r) / r**2 * Fraction(n, budget)
    expected = math.log(inside) / math.log((1 - r) / r) - 1
    assert agreement.correlation(n, budget, subset_size) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.integers(2, 2000).flatmap(lambda m: st.tuples(st.integers(1, m - 1), st.just(m))))
def test_correlation_rises_with_overlap(sizes):
    budget, subset_size = sizes
    overlap = np.arange(max(0, 2 * budget - subset_size), budget + 1)
    c = agreement.correlation(overlap, budget, subset_size)
    assert np.all(np.diff(c) > 0)
    assert c[-1] == pytest.approx(1)
    assert np.all(c >= -1 - 1e-12)


def test_correlation_broadcasts():
    chex.assert_shape(agreement.correlation(np.zeros((3, 1)), [10, 20], 100), (3, 2))


@pytest.mark.parametrize(
    ("overlap", "budget", "subset_size", "message"),
    [
        (5, 10, 10, "budget is 10"),
        (0, 0, 10, "budget is 0"),
        (11, 10, 100, "overlap is 11"),
        (-1, 10, 100, "overlap is -1"),
        (math.nan, 8, 10, "overlap is nan"),
    ],
)
def test_correlation_refuses(overlap, budget, subset_size, message):
    with pytest.raises(ValueError, match=message):
        agreement.correlation(overlap, budget, subset_size)


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 30), min_size=9, max_size=9),
    st.sets(st.integers(0, 30), min_size=9, max_size=9),
)
def test_overlap_is_that_of_sets(a, b):
    assert agreement.overlap(list(a), np.array(list(b))) == len(a & b)


def test_overlap_refuses_repeats():
    with pytest.raises(ValueError, match="twice"):
        agreement.overlap([1, 1], [1, 2])


def hypergeometric_p(n, budget, subset_size):
    """Two-sided: all overlaps that are no likelier than n."""

    def probability(k):
        return (
            math.comb(budget, k)
            * math.comb(subset_size - budget, budget - k)
            / math.comb(subset_size, budget)
        )

    every = [probability(k) for k in range(max(0, 2 * budget - subset_size), budget + 1)]
    return sum(p for p in every if p <= probability(n) * (1 + 1e-9))


@pytest.mark.parametrize("n", [0, 1, 4, 7])
@pytest.mark.parametrize("subset_size", [12, 40])
def test_compare_against_definitions(n, subset_size):
    budget = 7
    if n < 2 * budget - subset_size:
        n = 2 * budget - subset_size
    measured = agreement.compare(range(budget), range(budget - n, 2 * budget - n), subset_size)
    observed, expected = n / budget, budget / subset_size
    assert measured.overlap == n
    assert measured.chance == pytest.approx(budget * budget / subset_size)
    assert measured.kappa == pytest.approx((observed - expected) / (1 - expected))
    assert measured.jaccard == pytest.approx(n / (2 * budget - n))
    assert measured.p_value == pytest.approx(hypergeometric_p(n, budget, subset_size))
    assert pytest.approx(agreement.correlation(n, budget, subset_size)) == measured.C


def test_compare_refuses_selections_of_different_size():
    with pytest.raises(ValueError, match="3 and 2"):
        agreement.compare([1, 2, 3], [1, 2], 10)


def test_all_pairs_are_compared_in_order():
    chosen = {"x": np.array([0, 1, 2]), "y": np.array([2, 1, 9]), "z": np.array([4, 5, 6])}
    scores = {"x": np.arange(10.0), "y": np.arange(10.0)[::-1], "z": np.empty(0)}
    found = agreement.compare_all(chosen, scores, 10)
    assert [(pair["a"], pair["b"], pair["overlap"]) for pair in found] == [
        ("x", "y", 2),
        ("x", "z", 0),
        ("y", "z", 0),
    ]
    assert [pair["spearman"] for pair in found] == [pytest.approx(-1), None, None]
    assert found[0]["C"] == agreement.correlation(2, 3, 10)
    assert agreement.compare_all({}, {}, 10) == []


def test_spearman_is_of_ranks_and_not_of_a_constant():
    assert agreement.spearman(np.array([1.0, 2, 3]), np.array([1.0, 4, 900])) == pytest.approx(1)
    assert agreement.spearman(np.ones(3), np.array([1.0, 2, 3])) is None


def test_the_leaf_imports_numpy_and_scipy_alone():
    code = "import sys, aljax.agreement; print([n for n in ('jax', 'flax', 'sklearn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
