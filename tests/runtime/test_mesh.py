import jax
import pytest

from aljax.runtime import mesh


@pytest.fixture
def two_cores(monkeypatch, two_devices):
    """As if nobody had said how many devices the CPU has."""
    if jax.default_backend() != "cpu":
        pytest.skip("of a CPU alone")
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")
    monkeypatch.setattr(mesh.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.mark.parametrize(
    ("asked", "pixels", "expected"),
    [
        (0, None, 2),
        (0, 2 * mesh.LEAST_PIXELS, 2),
        (0, 2 * mesh.LEAST_PIXELS - 1, 1),
        (0, 64, 1),
        (2, 64, 2),
        (1, 2 * mesh.LEAST_PIXELS, 1),
    ],
)
@pytest.mark.usefixtures("two_cores")
def test_cores_share_a_batch_where_that_pays_or_is_asked_for(asked, pixels, expected):
    assert mesh.local(asked, 8, pixels).size == expected


@pytest.mark.usefixtures("two_devices")
def test_the_number_in_the_environment_is_taken(monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    assert mesh.local(0, 8, batch_pixels=64).size == 2


@pytest.mark.usefixtures("two_devices")
def test_the_batch_is_spread_evenly():
    assert mesh.local(0, 7).size == 1
    assert mesh.local(0, 6).size == 2


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match="there are"):
        mesh.local(1024, 1024)
