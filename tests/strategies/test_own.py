import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.errors import InvalidInputError, RunError
from aljax.runtime import mesh
from aljax.scoring import GAP, LOGARITHM
from aljax.strategies.base import View, outputs_from
from aljax.strategies.registry import digest, find, needs_of, scale_of, select

KEY = jax.random.key(0)
ACCEPTED = r"accepted: budget=2 positions from 0 to 3, each once, as integers$"


@pytest.fixture
def own(tmp_path):
    """Writes a file, and names its function `pick`."""

    def write(text):
        path = tmp_path / "mine.py"
        path.write_text(text)
        return f"{path}:pick"

    return write


def choose(name):
    view = View(4, mesh.local(1, 2), 0, *(jnp.zeros((4, 2)),) * 4)
    return select(name, KEY, view, 2)


def test_positions_alone_are_a_selection_without_scores(own):
    selection = choose(own("def pick(key, view, budget): return range(view.subset_size)[-budget:]"))
    assert list(selection.chosen) == [2, 3]
    assert selection.chosen.dtype == np.int32
    assert selection.scores.shape == (0,)


def test_a_selection_may_have_scores_and_a_note(own):
    name = own(
        "from aljax.strategies import Selection\n"
        "def pick(key, view, budget): return Selection([3, 0], [1, 0, 0, 2], 'in haste')"
    )
    selection = choose(name)
    assert list(selection.chosen) == [3, 0]
    assert list(selection.scores) == [1, 0, 0, 2]
    assert selection.note == "in haste"


def test_a_module_on_the_path_will_do(own, tmp_path, monkeypatch):
    (tmp_path / "found_on_the_path.py").write_text("def pick(key, view, budget): return [1, 0]")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(choose("found_on_the_path:pick").chosen) == [1, 0]


def test_it_gets_what_it_needs_or_all_that_one_model_gives(own):
    assert needs_of(find(own("def pick(key, view, budget): return [0, 1]"))) == outputs_from("model")


def test_it_may_say_what_it_needs(own):
    text = (
        "from aljax.strategies import needs\n@needs('features')\ndef pick(key, view, budget): return [0, 1]"
    )
    assert needs_of(find(own(text))) == {"features"}


def test_it_may_read_what_is_known_of_the_images_and_the_cycle(own):
    name = own(
        "from aljax.strategies import needs\n"
        "@needs('indices', 'labels')\n"
        "def pick(key, view, budget):\n"
        "    assert list(view.labels[: view.num_labeled]) == [2] and view.cycle == 3\n"
        "    return [list(view.indices).index(10 * view.cycle), 0]"
    )
    known = {"indices": np.array([10, 20, 30, 40]), "labels": np.array([2, -1]), "num_labeled": 1}
    view = View(4, mesh.local(1, 2), cycle=3, **known)
    assert list(select(name, KEY, view, 2).chosen) == [2, 0]


def test_it_may_score_on_a_scale_and_draw_ties_as_ours_do(own):
    text = (
        "import jax\n"
        "from aljax.scoring import GAP\n"
        "from aljax.strategies import highest, needs, scored\n"
        "@needs('log_probs')\n"
        "@scored(GAP)\n"
        "def pick(key, view, budget):\n"
        "    first, second = jax.lax.top_k(view.log_probs, 2)[0].T\n"
        "    return highest(key, second - first, budget)\n"
    )
    name = own(text)
    assert scale_of(find(name)) is GAP
    assert choose(name).ties == 4
    assert choose(name).note == "2 of the 2 images were drawn among 4 of equal score"


def test_one_that_declares_no_scale_is_taken_to_score_on_that_of_a_logarithm(own):
    assert scale_of(find(own("def pick(key, view, budget): return [0, 1]"))) is LOGARITHM


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("return [1, 1]", "position 1 2 times"),
        ("return [1]", r"positions of shape \(1,\)"),
        ("return [0, 1, 2]", r"positions of shape \(3,\)"),
        ("return [[0, 1]]", r"positions of shape \(1, 2\)"),
        ("return []", r"positions of shape \(0,\)"),
        ("return [0, 4]", "position 4"),
        ("return [-1, 0]", "position -1"),
        ("return [0.0, 1.0]", "a list of float64"),
        ("return [True, False]", "a list of bool"),
        ("return None", "a NoneType of object"),
        ("return ['a', 'b']", "a list of <U1"),
        ("return [[0], [1, 2]]", "a list"),
    ],
)
def test_what_is_no_selection_is_said_in_one_line(own, body, complaint):
    name = own(f"def pick(key, view, budget): {body}")
    with pytest.raises(RunError, match=f"^strategy '.*mine.py:pick' returned {complaint}; {ACCEPTED}"):
        choose(name)


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [("[1, 2]", r"scores of shape \(2,\)"), ("[0, 0, 0, float('nan')]", "1 scores that are not finite")],
)
def test_scores_are_checked_too(own, scores, complaint):
    name = own(
        "from aljax.strategies import Selection\n"
        f"def pick(key, view, budget): return Selection([0, 1], {scores})"
    )
    with pytest.raises(RunError, match=f"returned {complaint}; accepted: 4 finite numbers, or none"):
        choose(name)


@pytest.mark.parametrize(
    "raised", ["ValueError('so\\nit is')", "SystemExit('so it is')", "GeneratorExit('so it is')"]
)
def test_what_it_raises_is_said_with_its_place_in_one_line(own, raised):
    name = own(f"def pick(key, view, budget):\n    raise {raised}")
    kind = raised.split("(")[0]
    with pytest.raises(
        RunError, match=rf"^strategy '.*' raised {kind}: so it is \(mine.py, line 2\)$"
    ) as error:
        choose(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"has no function pick"),
        ("pick = 3", r"has no function pick"),
        ("def pick(key, view): return [0, 1]", r"cannot be called with \(key, view, budget\)"),
        ("def pick(key, view, budget, more): return 0", r"cannot be called with \(key, view, budget\)"),
        ("def pick(", r"raised SyntaxError"),
        ("import nothing_of_that_name", r"raised ModuleNotFoundError: .*\(mine.py, line 1\)"),
        ("raise SystemExit(3)", r"raised SystemExit: 3"),
    ],
)
def test_what_cannot_be_called_is_refused_before_the_run(own, text, complaint):
    name = own(text)
    with pytest.raises(
        InvalidInputError, match=rf"^config.diversity='.*mine.py:pick': .*{complaint}.*accepted: one of"
    ):
        find(name, field="config.diversity")


def test_a_need_that_no_view_meets_is_refused(own):
    text = (
        "from aljax.strategies import needs\n@needs('gradients')\ndef pick(key, view, budget): return [0, 1]"
    )
    with pytest.raises(
        InvalidInputError, match=r"it needs gradients; accepted: dropout_classes, .*predicted_loss$"
    ):
        find(own(text))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nowhere.py:pick", "there is no file nowhere.py"),
        ("no_such_module:pick", "there is no module no_such_module"),
        ("aljax.no_such_part:pick", "there is no module aljax.no_such_part"),
        ("aljax.strategies:", "accepted: one of"),
        (":pick", "accepted: one of"),
    ],
)
def test_what_is_not_there_is_refused(name, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        find(name)


def test_the_digest_of_a_user_s_strategies_follows_their_files(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def first(key, view, budget):\n    return range(budget)\n")
    name = f"{path}:first"
    assert digest(["margin", "random"]) == ""
    before = digest(["margin", name])
    assert before == digest([name, name])
    path.write_text("def first(key, view, budget):\n    return range(1, budget + 1)\n")
    assert digest([name]) not in (before, "")
