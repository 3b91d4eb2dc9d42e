"""Training in a run: epochs that a floor of steps adds, and what goes on after an interruption."""

import shutil
import zlib
from collections import Counter
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aljax.errors import InvalidInputError
from aljax.experiment import loop, study
from aljax.records import files
from tests.harness import changed, config_of, events, results, small


@pytest.fixture
def config():
    """With steps for at least 20, 14 and 10 epochs, an optimizer with a count, and warm starts."""
    fields = {"train.epochs": 4, "train.min_steps": 40, "train.milestones": (0.8,), "train.detach_epoch": 0.5}
    fields |= {"train.optimizer": "adamw", "train.schedule": "cosine", "train.precise_bn": True}
    return small(**fields, trials=1, warm_start=True)


def test_a_floor_of_steps_adds_epochs_and_compiles_nothing_anew(config, tmp_path):
    counts = Counter()

    def listen(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/jaxpr_trace_duration":
            counts[fun_name] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        loop.run(config, tmp_path / "whole")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert {name: counts[name] for name in ("epochs", "recomputed")} == {"epochs": 1, "recomputed": 1}
    lines, _ = files.read_lines(tmp_path / "whole" / "cycles.jsonl")
    assert [line["epochs"] for line in lines] == [20, 14, 10]  # of 2, 3 and 4 steps
    (path,) = (tmp_path / "whole" / "tensorboard" / "trial-00").iterdir()
    points = [(event.step, value.tag) for event in events(path) for value in event.summary.value]
    assert [step for step, tag in points if tag == "train/accuracy"] == list(range(1, 45))

    shutil.copytree(tmp_path / "whole", tmp_path / "killed")  # once cycle 2 was complete
    content = (tmp_path / "killed" / "cycles.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "killed" / "cycles.jsonl").write_bytes(b"".join(content[:2]))
    loop.run(config, tmp_path / "killed")
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_a_key_is_folded_from_name_trial_and_cycle():
    own = SimpleNamespace(key=jax.random.key(3))
    keys = jax.random.key_data(study.keys_of(own, 1, 2, ("weights", "batches")))
    for name, key in zip(("weights", "batches"), keys, strict=True):
        expected = own.key
        for number in (np.uint32(zlib.crc32(name.encode())), 1, 2):
            expected = jax.random.fold_in(expected, number)
        assert np.array_equal(key, jax.random.key_data(expected))
        assert np.array_equal(key, jax.random.key_data(study.key_of(own, 1, 2, name)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "model__name",
            "resnet",
            r"config\.model\.name='resnet': did you mean 'resnet18'\?; accepted: one",
        ),
        ("train__optimizer", "adam", r"config\.train\.optimizer='adam': did you mean 'adamw'\?"),
        ("train__schedule", "own.py:own", r"config\.train\.schedule='own\.py:own': there is no file own\.py"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(config, tmp_path, field, value, message):
    with pytest.raises(InvalidInputError, match=message):
        loop.run(changed(config, **{field: value}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_user_s_own_optimizer_is_the_same_when_the_run_goes_on(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("import optax\n\ndef own(rate, recipe):\n    return optax.sgd(rate)\n")
    config = small(**{"train.optimizer": f"{file}:own"})
    digest = study.training_digest(config)
    assert study.training_digest(config_of("digits")) == ""
    file.write_text(file.read_text() + "\n")
    assert study.training_digest(config) not in ("", digest)
