"""Names and the functions behind them; what strategies and networks add is tested beside them."""

import importlib

import pytest

from aljax import registry


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's file, and the modules that it imports from its folder; all names are its own."""
    (tmp_path / "registry_mine.py").write_text(
        "import math\n"
        "import registry_helper\n"
        "from registry_parts.deep import two\n"
        "def pick():\n"
        "    from registry_late import three\n"
        "    return registry_helper.one() + two + three + math.floor(0.5)\n"
    )
    (tmp_path / "registry_helper.py").write_text("import registry_mine_too\none = lambda: 1\n")
    (tmp_path / "registry_mine_too.py").write_text("import registry_helper\n")
    (tmp_path / "registry_late.py").write_text("three = 3\n")
    (tmp_path / "registry_parts").mkdir()
    (tmp_path / "registry_parts" / "__init__.py").write_text("from . import beside\n")
    (tmp_path / "registry_parts" / "deep.py").write_text("two = 2\n")
    (tmp_path / "registry_parts" / "beside.py").write_text("")
    (tmp_path / "registry_unrelated.py").write_text("")
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return tmp_path


def test_a_user_s_file_may_import_what_lies_beside_it(folder):
    assert registry.run_file(folder / "registry_mine.py").pick() == 6


def test_the_source_of_a_function_holds_all_that_it_imports_from_its_folder(folder):
    module = registry.run_file(folder / "registry_mine.py")
    before = registry.source(module.pick)
    assert before.startswith((folder / "registry_mine.py").read_bytes())
    for name in ("helper", "mine_too", "late", "parts/__init__", "parts/deep", "parts/beside"):
        path = folder / f"registry_{name}.py"
        content = path.read_text()
        path.write_text(f"{content}# changed\n")
        assert registry.source(module.pick) != before, name
        path.write_text(content)
        assert registry.source(module.pick) == before
    (folder / "registry_unrelated.py").write_text("changed = 1\n")
    assert registry.source(module.pick) == before


def test_a_package_s_modules_import_each_other_by_their_whole_names(tmp_path, monkeypatch):
    package = tmp_path / "registry_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "own.py").write_text("from registry_package.other import one\ndef pick(): return one\n")
    (package / "other.py").write_text("one = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    source = registry.source(importlib.import_module("registry_package.own").pick)
    assert source.endswith(b"one = 1\n")


def test_a_function_that_imports_nothing_of_its_folder_is_its_file_alone(tmp_path):
    path = tmp_path / "registry_alone.py"
    path.write_text("import os\nfrom aljax.strategies import needs\ndef pick(): return 0\n")
    assert registry.source(registry.run_file(path).pick) == path.read_bytes()


@pytest.mark.parametrize("name", ["jax.numpy:ones", "json:dumps", "math:sqrt"])
def test_of_installed_packages_nothing_is_followed(name):
    place, _, function = name.partition(":")
    assert len(registry.source(getattr(importlib.import_module(place), function))) < 10**6
