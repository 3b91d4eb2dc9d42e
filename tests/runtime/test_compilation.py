"""Where compiled functions are kept, and that a run goes on where they cannot be."""

import os
import warnings

import jax
import pytest

from aljax.runtime import compilation

NAMES = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def settings():
    """Puts back what `keep` changes."""
    before = {name: getattr(jax.config, name) for name in NAMES}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_user_s_folder_is_the_default_and_processors_do_not_share(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    compilation.keep()
    folder = compilation.Path(jax.config.jax_compilation_cache_dir)
    assert folder.parent == tmp_path / "aljax"
    assert folder.is_dir()
    monkeypatch.setattr(compilation.Path, "read_text", lambda path: "flags : another")
    assert compilation.default_folder().parent == folder.parent
    assert compilation.default_folder() != folder


def test_a_folder_that_is_named_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    compilation.keep()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 7


@pytest.mark.parametrize("place", ["unwritable", "homeless"])
def test_without_a_folder_there_is_one_warning_and_no_cache(tmp_path, monkeypatch, caplog, place):
    if place == "unwritable":
        (tmp_path / "file").touch()
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "file" / "cache"))
    else:

        def no_home():
            raise RuntimeError("Could not determine home directory.")

        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(compilation.Path, "home", no_home)
    compilation.keep()
    assert not jax.config.jax_enable_compilation_cache
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "\n" not in caplog.records[0].getMessage()


OURS = [f"{flag}={value}" for flag, value in compilation.FLAGS.items()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", OURS),
        ("--xla_dump_to=here", ["--xla_dump_to=here", *OURS]),
        (f"{next(iter(compilation.FLAGS))}=false", [f"{next(iter(compilation.FLAGS))}=false", *OURS[1:]]),
        (" ".join(reversed(OURS)), OURS[::-1]),
    ],
)
def test_flags_are_set_once_and_xla_flags_have_the_last_word(monkeypatch, given, expected):
    monkeypatch.setenv("XLA_FLAGS", given)
    for _ in range(2):
        compilation.set_flags()
        assert os.environ["XLA_FLAGS"].split() == expected


def test_a_damaged_file_is_no_news():
    compilation.keep()
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn(
            "Error reading persistent compilation cache entry for 'jit_f': zlib.error", stacklevel=1
        )
    assert seen == []
    assert os.environ["JAX_COMPILATION_CACHE_DIR"]
