import importlib

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import aljax.strategies
from aljax.config import default
from aljax.errors import InvalidInputError, RunError
from aljax.runtime import mesh
from aljax.strategies import STRATEGIES, View, find, needs_of, select
from aljax.strategies.base import outputs_from
from aljax.strategies.registry import check, expanded, scale_of
from tests.harness import changed

KEY = jax.random.key(0)
FEATURES = ("features", "labeled_features")


def view(subset_size=4, **fields):
    return View(subset_size, mesh.local(1, 2), **fields)


def of_probabilities(*rows):
    return view(len(rows), log_probs=logs(rows))


def logs(probabilities):
    return np.log(np.array(probabilities, np.float32))


def any_view(seed=0, subset_size=6, num_labeled=3, capacity=5):
    """Returns a view of arrays that are on the host, as what is computed there is not compiled."""
    rng = np.random.default_rng(seed)

    def drawn(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return view(
        subset_size,
        num_labeled=num_labeled,
        log_probs=logs(scipy.special.softmax(drawn(subset_size, 3), axis=-1)),
        predicted_loss=drawn(subset_size),
        features=drawn(subset_size, 2),
        labeled_features=drawn(capacity, 2),
        member_log_probs=logs(scipy.special.softmax(drawn(2, subset_size, 3), axis=-1)),
        dropout_classes=rng.integers(0, 3, (subset_size, 3), np.int32),
        num_classes=3,
    )


CERTAIN, UNSURE, TORN = [0.98, 0.01, 0.01], [0.4, 0.35, 0.25], [0.499, 0.499, 0.002]


@pytest.mark.parametrize(
    ("name", "order"),
    [("least_confidence", [2, 3, 1, 0]), ("margin", [3, 2, 1, 0]), ("entropy", [2, 1, 3, 0])],
)
def test_scores_of_probabilities_take_the_highest_first(name, order):
    selection = select(name, KEY, of_probabilities(CERTAIN, [0.6, 0.2, 0.2], UNSURE, TORN), 4)
    assert list(selection.chosen) == order
    assert np.all(np.diff(selection.scores[selection.chosen]) <= 0)


@pytest.mark.parametrize("name", ["least_confidence", "margin", "entropy"])
def test_the_tutorial_s_table(name):
    selection = select(name, KEY, of_probabilities([0.9, 0.09, 0.01], [0.2, 0.5, 0.3]), 1)
    assert list(selection.chosen) == [1]


def test_learning_loss_takes_the_highest_predicted_losses():
    selection = select("learning_loss", KEY, view(predicted_loss=rows(0.1, 3, -1, 2)), 2)
    assert list(selection.chosen) == [1, 3]


def test_an_ensemble_is_asked_where_it_disagrees():
    # Of three images: both models sure and of one mind; both unsure; both sure, and not of one mind.
    first = [[0.9, 0.1], [0.5, 0.5], [0.9, 0.1]]
    second = [[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]
    given = view(3, member_log_probs=logs([first, second]))
    assert select("bald", KEY, given, 1).chosen == [2]
    assert select("vote_entropy", KEY, given, 1).chosen == [2]
    np.testing.assert_allclose(select("vote_entropy", KEY, given, 1).scores, [0, 0, np.log(2)], atol=1e-6)


def rows(*values):
    return np.array(values, np.float32)


FAR = {"features": rows([1], [5], [9], [2])}


def test_core_set_goes_away_from_the_labeled():
    given = view(**FAR, labeled_features=rows([0]), num_labeled=1)
    assert list(select("core_set", KEY, given, 3).chosen) == [2, 1, 3]


def test_core_set_ignores_rows_that_are_not_labeled_yet():
    given = view(**FAR, labeled_features=rows([0], [9]), num_labeled=1)
    assert list(select("core_set", KEY, given, 1).chosen) == [2]


def test_in_the_given_space_embeddings_stand_in_place_of_features():
    given = {"given": FAR["features"], "given_labeled": rows([0], [9])}
    assert list(select("core_set", KEY, view(**given, num_labeled=1, space="given"), 3).chosen) == [2, 1, 3]
    assert needs_of(STRATEGIES["core_set"], "given") == set(given)
    with pytest.raises(RunError, match="needs given, given_labeled, which there is not"):
        select("core_set", KEY, view(**FAR, labeled_features=FAR["features"], space="given"), 1)


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("margin", "embeddings", "'margin': needs log_probs of a model; accepted: random, core_set, "),
        ("badge", "embeddings", "'badge': needs features, log_probs of a model; accepted: random, core"),
        ("core_set", "embedded", "'core_set': accepted: 'random', or with config.dataset.source='embedd"),
        ("coreset", "embeddings", "'coreset': did you mean 'core_set'"),
    ],
)
def test_a_strategy_of_cycle_1_has_no_model(name, source, complaint):
    config = changed(default().to_dict(), initial__strategy=name, dataset__source=source)
    with pytest.raises(InvalidInputError, match=f"^config.initial.strategy={complaint}"):
        check(config)


def test_the_first_batch_may_be_chosen_by_embeddings():
    for name in ("random", "core_set", "typiclust", "probcover"):
        check(changed(default().to_dict(), initial__strategy=name, dataset__source="embeddings"))
        given = {} if name == "random" else {"given": FAR["features"], "given_labeled": rows([0], [0], [0])}
        assert len(set(select(name, KEY, view(**given, space="given"), 2).chosen)) == 2


def test_what_works_on_the_last_layer_keeps_the_model_s_features_in_any_space():
    assert needs_of(STRATEGIES["badge"], "given") == needs_of(STRATEGIES["badge"])
    there = any_view()._replace(given=None, space="given")
    same = select("badge", KEY, there, 3).chosen
    np.testing.assert_array_equal(same, select("badge", KEY, any_view(), 3).chosen)


def test_core_set_cosine_looks_at_angles_and_not_at_lengths():
    features = rows([9, 0], [0, 1], [1, 1], [5, 0.1])
    labeled = rows([1, 0], [0, 7])  # the second is not labeled yet
    given = view(features=features, labeled_features=labeled, num_labeled=1)
    assert list(select("core_set_cosine", KEY, given, 3).chosen) == [1, 2, 3]
    longer = given._replace(features=features * rows([1], [3], [2], [8]))
    assert list(select("core_set_cosine", KEY, longer, 3).chosen) == [1, 2, 3]


@pytest.mark.usefixtures("two_devices")
def test_on_a_cpu_one_device_looks_for_core_set_s_centers():
    """Whatever devices hold the features."""
    both = mesh.local(2, 2)
    assert mesh.of_own_memory(both) == mesh.local(1, 2)
    given = any_view(num_labeled=2, capacity=4)
    there = {name: jax.device_put(getattr(given, name), mesh.spread(both)) for name in FEATURES}
    for name in ("core_set", "robust_core_set"):
        chosen = select(name, KEY, given, 3).chosen
        assert list(select(name, KEY, given._replace(mesh=both, **there), 3).chosen) == list(chosen)


def test_random_is_uniform_and_needs_no_model():
    counts = np.zeros(4, int)
    for seed in range(300):
        chosen = select("random", jax.random.key(seed), view(), 2).chosen
        assert len(set(chosen)) == 2
        counts[chosen] += 1
    assert np.all(np.abs(counts - 150) < 45)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_keeps_the_contract_with_what_it_needs_and_no_more(name):
    needed = needs_of(STRATEGIES[name])
    assert needed <= set(View._fields)
    unneeded = dict.fromkeys(outputs_from("model", "dropout", "ensemble") - needed)
    for budget in (1, 5, 6):
        given = any_view()._replace(**unneeded)
        selection = select(name, KEY, given, budget)
        assert selection.chosen.dtype == np.int32
        assert len(set(selection.chosen)) == budget
        assert set(selection.chosen) <= set(range(6))
        assert selection.scores.shape == ((0,) if scale_of(STRATEGIES[name]) is None else (6,))
        again = select(name, KEY, given, budget)
        np.testing.assert_array_equal(again.chosen, selection.chosen)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"random"}))
def test_what_a_strategy_needs_and_does_not_get_is_named(name):
    with pytest.raises(RunError, match=f"strategy '{name}' needs .*{min(needs_of(STRATEGIES[name]))}"):
        select(name, KEY, view(), 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(RunError, match=r"^strategy 'learning_loss': 1 of 4 scores are not finite"):
        select("learning_loss", KEY, view(predicted_loss=rows(0, bad, 1, 2)), 2)


def test_a_name_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(
        InvalidInputError,
        match=r"^config.diversity='corset': did you mean 'core_set'\?; accepted: one of random, .*core_set",
    ):
        find("corset", field="config.diversity")


RANDOM = {"random", "powerbald", "badge", "typiclust", "probcover", "dropquery", "cluster_margin"}
HERDING = {"maxherding", "uherding"}  # two images that cover each other alone gain the same: rounding decides
DETERMINISTIC = sorted(set(STRATEGIES) - RANDOM - HERDING)


@pytest.mark.parametrize("name", DETERMINISTIC)
@settings(deadline=None, max_examples=5)
@given(st.integers(0, 10**6))
def test_a_permuted_sub_pool_gives_the_permuted_answer(name, seed):
    given_view = any_view(seed, subset_size=12)
    order = np.random.default_rng(seed).permutation(12)
    permuted = given_view._replace(
        log_probs=given_view.log_probs[order],
        predicted_loss=given_view.predicted_loss[order],
        features=given_view.features[order],
        member_log_probs=given_view.member_log_probs[:, order],
    )
    first, second = select(name, KEY, given_view, 4), select(name, KEY, permuted, 4)
    if name == "robust_core_set":  # any of the centers of the smallest radius will do
        radii = [radius(given_view, chosen) for chosen in (first.chosen, order[second.chosen])]
        assert radii[0] == pytest.approx(radii[1], abs=1e-4)
    elif name == "maxherding":  # two images that cover each other alone tie
        covers = [coverage(given_view, chosen) for chosen in (first.chosen, order[second.chosen])]
        assert covers[0] == pytest.approx(covers[1], abs=1e-5)
    elif name == "vote_entropy":  # votes tie
        scores = [selection.scores[selection.chosen] for selection in (first, second)]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    else:
        np.testing.assert_array_equal(order[second.chosen], first.chosen)
    if len(first.scores):
        np.testing.assert_allclose(second.scores, first.scores[order], atol=1e-6)
        assert np.all(np.diff(first.scores[first.chosen]) <= 0)


def radius(given_view, chosen, outliers=1):
    labeled = given_view.labeled_features[: given_view.num_labeled]
    centers = np.concatenate([given_view.features[chosen], labeled])
    apart = np.linalg.norm(given_view.features[:, None] - centers, axis=-1)
    return np.sort(apart.min(axis=1))[-1 - outliers]


def coverage(given_view, chosen):
    """Returns the sum over the sub-pool of the similarity to the nearest labeled or chosen image."""
    labeled = given_view.labeled_features[: given_view.num_labeled]
    rows = [np.asarray(given_view.features), np.concatenate([given_view.features[chosen], labeled])]
    points, centers = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in rows)
    return np.exp(-((points[:, None] - centers) ** 2).sum(axis=-1)).max(axis=1).sum()


def test_typiclust_and_probcover_look_at_directions_not_at_lengths():
    given_view = any_view(subset_size=24)
    longer = given_view._replace(features=given_view.features * np.arange(1, 25, dtype=np.float32)[:, None])
    for name in ("typiclust", "probcover"):
        one, other = (select(name, KEY, given, 6) for given in (given_view, longer))
        np.testing.assert_array_equal(one.chosen, other.chosen)


def test_probcover_draws_the_rest_once_all_are_covered():
    alike = rows(*[[1, 0]] * 6)
    fields = {"features": alike, "labeled_features": alike[:1]}
    seen = {
        tuple(select("probcover", jax.random.key(seed), view(6, **fields), 3).chosen) for seed in range(8)
    }
    selection = select("probcover", KEY, view(6, **fields), 3)
    assert len(seen) > 3
    assert selection.note == "1 balls of radius inf cover all images; the other 2 are random"


def test_robust_core_set_says_where_time_ran_out(monkeypatch):
    monkeypatch.setattr(importlib.import_module("aljax.strategies.robust_core_set"), "MOST_PAIRS", 3)
    selection = select("robust_core_set", KEY, any_view(subset_size=24), 6)
    assert selection.note.startswith("the best feasible answer, of radius")
    assert selection.note.endswith("more than 3 pairs lie within the greedy radius")


@pytest.mark.parametrize("name", STRATEGIES)
def test_of_images_that_are_all_alike_each_is_chosen_as_often(name):
    """Sorted by class in a data set, the first images are of one class; no strategy favors them."""
    size, budget, repeats = 12, 3, 60
    alike = np.ones((size, 2), np.float32)
    given = view(
        size,
        num_labeled=1,
        log_probs=logs(alike / 2),
        predicted_loss=np.zeros(size, np.float32),
        features=alike,
        labeled_features=alike[:2] / 2,
        member_log_probs=logs([alike / 2, alike / 2]),
        dropout_classes=np.zeros((size, 3), np.int32),
    )
    counts = np.zeros(size)
    for seed in range(repeats):
        counts[select(name, jax.random.key(seed), given, budget).chosen] += 1
    # Without replacement the counts vary less than chi-square's by (M - B)/(M - 1).
    statistic = ((counts - counts.mean()) ** 2).sum() / counts.mean() * (size - 1) / (size - budget)
    assert scipy.stats.chi2.sf(statistic, size - 1) > 0.001


NORMALIZED = ["maxherding", "uherding", "dropquery", "cluster_margin"]


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *((name, scale) for name in ("core_set", "robust_core_set", "badge") for scale in (1e-22, 1e19)),
        # Powers of two round nothing: two images that are alone in a cluster are equally near its mean.
        *((name, scale) for name in NORMALIZED for scale in (2.0**-73, 2.0**63)),
    ],
)
def test_features_of_any_scale_select_alike(name, scale):
    given = any_view(subset_size=24)
    scaled = {output: np.float32(scale) * getattr(given, output) for output in FEATURES}
    expected = select(name, KEY, given, 6).chosen
    np.testing.assert_array_equal(select(name, KEY, given._replace(**scaled), 6).chosen, expected)


@pytest.mark.parametrize(
    "name", ["robust_core_set", "typiclust", "probcover", "core_set", "core_set_cosine", *NORMALIZED]
)
def test_features_that_are_not_finite_are_refused(name):
    given_view = any_view()
    given_view.features[2, 1] = np.nan
    with pytest.raises(RunError, match=f"strategy '{name}' raised ValueError: features hold a value"):
        select(name, KEY, given_view, 2)


@pytest.mark.parametrize("field", ["log_probs", "features"])
def test_badge_refuses_gradients_that_are_not_finite(field):
    given_view = any_view()
    getattr(given_view, field)[2, 1] = np.nan
    with pytest.raises(RunError, match="strategy 'badge' raised ValueError: a gradient is not finite"):
        select("badge", KEY, given_view, 2)


def test_every_strategy_is_a_function_of_the_package_and_a_reference():
    for name, strategy in STRATEGIES.items():
        assert getattr(aljax.strategies, name) is strategy
        assert find(f"aljax.strategies:{name}") is strategy
        assert scale_of(find(f"aljax.strategies:{name}")) is scale_of(strategy)


def config_of(**changes):
    return changed(default().to_dict(), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uncertainty": "learning_los"}, "config.uncertainty='learning_los': did you mean 'learning_loss'?"),
        ({"diversity": "coreset"}, "config.diversity='coreset': did you mean 'core_set'?; accepted: one of"),
        ({"acquire": "both"}, "config.acquire='both': accepted: uncertainty, diversity, or one of random, "),
        (
            {"compare": ("margin", "marge")},
            "config.compare='marge': did you mean 'margin'?; accepted:",
        ),
        (
            {"uncertainty": "bald"},
            "config.ensemble=1: accepted: at least 2, as config.uncertainty='bald'",
        ),
        (
            {"compare": ("margin", "bald")},
            "config.ensemble=1: accepted: at least 2, as config.compare='b",
        ),
        (
            {"scenario": "stream", "uncertainty": "core_set"},
            "config.uncertainty='core_set': accepted: in a stream, one that scores each image: random, "
            "least_confidence, margin, entropy, learning_loss, bald, vote_entropy, powerbald",
        ),
    ],
)
def test_a_config_s_strategies_are_refused_in_one_line(changes, message):
    with pytest.raises(InvalidInputError) as error:
        check(config_of(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_strategies_are_those_of_the_table():
    assert expanded(("all",)) == tuple(STRATEGIES)
    assert set(STRATEGIES) - set(expanded(("all", "-badge"))) == {"badge"}
    assert expanded(("own.py:pick", "all"))[0] == "own.py:pick"
    assert expanded(("margin", "core_set")) == ("margin", "core_set")
    with pytest.raises(InvalidInputError, match=r"config.compare='badg': did you mean 'badge'\?"):
        expanded(("all", "-badg"))
    assert expanded(()) == ()
    with pytest.raises(InvalidInputError, match=r"names 1 strategies; accepted: two or more, or \(\)$"):
        expanded(("margin", "-badge"))


def test_a_config_s_strategies_are_accepted():
    check(config_of())
    check(config_of(ensemble=2, compare=tuple(STRATEGIES), acquire="diversity"))
    check(config_of(scenario="stream", uncertainty="entropy"))


PEERS = {
    "least_confidence": ("least_confident", "LeastConfidence"),
    "margin": ("margin_sampling", "BreakingTies"),
    "entropy": ("entropy", "PredictionEntropy"),
}


@pytest.mark.parametrize("name", sorted(PEERS))
def test_scikit_activeml_and_small_text_score_and_choose_alike(name):
    skactiveml = pytest.importorskip("skactiveml.pool", reason="compares with the bench extra")
    small_text = pytest.importorskip("small_text", reason="compares with the bench extra")
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    method, peer = PEERS[name]
    selection = select(name, KEY, view(50, log_probs=logs(probabilities)), 10)

    scores = skactiveml.uncertainty_scores(probabilities, method=method)
    shift = 1 if name == "margin" else 0  # theirs is 1 - gap, ours -gap
    np.testing.assert_allclose(selection.scores + shift, scores, atol=1e-5)

    class Model:
        def predict_proba(self, dataset):
            return probabilities

    chosen = getattr(small_text, peer)().query(
        Model(), probabilities, np.arange(50), np.array([], int), np.array([]), n=10
    )
    assert set(chosen) == set(selection.chosen)


def test_scikit_activeml_s_and_small_text_s_core_sets_are_alike():
    skactiveml = pytest.importorskip("skactiveml.pool", reason="compares with the bench extra")
    coresets = pytest.importorskip(
        "small_text.query_strategies.coresets", reason="compares with the bench extra"
    )
    points = np.random.default_rng(0).normal(size=(45, 4))
    labels = np.full(45, np.nan)
    labels[40:] = 0
    fields = {
        "features": points[:40],
        "labeled_features": points[40:],
        "num_labeled": 5,
    }
    chosen = list(select("core_set", KEY, view(40, **fields), 8).chosen)
    assert list(skactiveml.CoreSet(random_state=0).query(points, labels, batch_size=8)) == chosen
    theirs = coresets.greedy_coreset(points, np.arange(40), np.arange(40, 45), 8, distance_metric="euclidean")
    assert list(theirs) == chosen


def test_scikit_activeml_s_votes_are_as_far_apart():
    committee = pytest.importorskip("skactiveml.pool", reason="compares with the bench extra")
    log_probs = jax.nn.log_softmax(jax.random.normal(KEY, (4, 30, 3)))
    scores = select("vote_entropy", KEY, view(30, member_log_probs=log_probs), 5).scores
    theirs = committee.vote_entropy(np.asarray(log_probs.argmax(-1)).T, classes=[0, 1, 2])
    scale = theirs.max() / scores.max()  # of the logarithm's base
    np.testing.assert_allclose(scores * scale, theirs, atol=1e-5)
