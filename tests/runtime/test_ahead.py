"""Imports ahead: begun once, in a thread, and no error where a module is absent."""

import sys

from aljax.runtime import ahead


def test_modules_are_imported_once_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_one.py").write_text("import threading\nTHREAD = threading.current_thread().name\n")
    (tmp_path / "late_bad.py").write_text("1 / 0\n")
    with ahead.importing("late_bad", "late_absent", "late_one") as begin:
        assert "late_one" not in sys.modules
        begin()
        begin()
    assert sys.modules["late_one"].THREAD == "imports ahead"
    assert not {"late_bad", "late_absent"} & sys.modules.keys()
    del sys.modules["late_one"]
    with ahead.importing("late_one"):
        pass
    assert "late_one" not in sys.modules
