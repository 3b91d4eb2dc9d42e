from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.records import checkpoints
from aljax.training import step as train


@pytest.fixture
def progress(networks, recipe):
    state = train.init(jax.random.key(0), networks=networks, recipe=recipe, image_shape=(8, 8, 3))
    metrics = train.EpochMetrics(jnp.float32(0.1), jnp.float32(0.2), jnp.float32(0.3), jnp.int32(0))
    return checkpoints.Progress(1, 7, state, metrics)


@pytest.fixture
def blank(progress):
    return jax.tree.map(jnp.zeros_like, progress)


def training(cycle, run="run", folder="trial-00", labeled=(3, 1, 2)):
    return checkpoints.training(run, Path(folder), cycle, np.array(labeled, np.int32))


def test_a_checkpoint_comes_back_bit_by_bit(tmp_path, progress, blank):
    assert checkpoints.latest(tmp_path / "trial-00", training(3), blank) is None
    checkpoints.save(tmp_path / "trial-00", training(3), progress)
    restored = checkpoints.latest(tmp_path / "trial-00", training(3), blank)
    chex.assert_trees_all_equal(restored, progress)
    chex.assert_trees_all_equal_dtypes(restored.metrics, progress.metrics)
    assert checkpoints.latest(tmp_path / "trial-00", training(4), blank) is None


def test_the_newest_is_kept_and_the_older_removed(tmp_path, progress, blank):
    (tmp_path / "cycle-03-attempt-0-epoch-0009-0123456789abcdef.orbax-checkpoint-tmp").mkdir()
    for cycle, epoch in ((3, 7), (3, 8), (4, 1)):
        checkpoints.save(tmp_path, training(cycle), progress._replace(epoch=epoch))
    assert checkpoints.latest(tmp_path, training(4), blank).epoch == 1
    assert len(list(tmp_path.iterdir())) == 1


def damage_by_name(path):
    path.rename(path.with_name(path.name[:-1] + ("0" if path.name[-1] != "0" else "1")))


def damage_files(change):
    """Changes the content of every file: orbax keeps what it needs in more than one."""

    def damage(path):
        for file in [file for file in path.rglob("*") if file.is_file()]:
            file.write_bytes(change(bytearray(file.read_bytes())))

    return damage


def altered(content):
    content[len(content) // 2] ^= 1
    return content


DAMAGE = {
    "named otherwise": damage_by_name,
    "cut": damage_files(lambda content: content[: len(content) // 2]),
    "altered": damage_files(altered),
    "emptied": damage_files(lambda content: b""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_not_used(tmp_path, progress, blank, damage, caplog):
    checkpoints.save(tmp_path, training(3), progress)
    DAMAGE[damage](next(tmp_path.iterdir()))
    assert checkpoints.latest(tmp_path, training(3), blank) is None
    assert "damaged, and not used" in caplog.text


def test_a_checkpoint_of_other_networks_is_not_used(tmp_path, progress, blank):
    checkpoints.save(tmp_path, training(3), progress)
    larger = blank._replace(metrics=train.EpochMetrics(*[jnp.zeros(5)] * 4))
    assert checkpoints.latest(tmp_path, training(3), larger) is None


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("run", training(3, run="another")),
        ("part", training(3, folder="trial-01")),
        ("labeled", training(3, labeled=(1, 2, 3))),
    ],
)
def test_a_checkpoint_of_another_training_is_not_used(tmp_path, progress, blank, field, other, caplog):
    checkpoints.save(tmp_path, other, progress)
    assert checkpoints.latest(tmp_path, training(3), blank) is None
    assert f"of another training, and not used ({field} differs)" in caplog.text
    assert checkpoints.latest(tmp_path, other, blank).epoch == 7


def test_the_cycle_in_a_name_is_part_of_the_checksum(tmp_path, progress, blank, caplog):
    checkpoints.save(tmp_path, training(3), progress)
    path = next(tmp_path.iterdir())
    path.rename(path.with_name(path.name.replace("cycle-03", "cycle-04")))
    assert checkpoints.latest(tmp_path, training(4), blank) is None
    assert "damaged, and not used (its checksum differs)" in caplog.text


def test_nothing_else_is_removed_and_no_link_is_followed(tmp_path, progress):
    folder, outside = tmp_path / "trial-00", tmp_path / "outside"
    for path in (folder / "cycle-notes", folder / "mine", outside):
        path.mkdir(parents=True)
        (path / "thesis.tex").touch()
    (folder / "cycle-01-attempt-0-epoch-0001-0123456789abcdef").symlink_to(outside)
    (folder / "removed-cycle-01-attempt-0-epoch-0002-0123456789abcdef").mkdir()
    checkpoints.save(folder, training(3), progress)
    left = sorted(path.name[:9] for path in folder.iterdir())
    assert left == ["cycle-01-", "cycle-03-", "cycle-not", "mine"]
    assert all((path / "thesis.tex").exists() for path in (folder / "cycle-notes", folder / "mine", outside))
