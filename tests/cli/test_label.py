import re
import sys

import pytest

from aljax import cli


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--classes=cat"], "--classes=cat: accepted: at least two names"),
        (
            ["--classes=cat, cat"],
            r"--classes=\('cat', 'cat'\): accepted: names that differ in more than capital letters",
        ),
        (["--classes=a,A"], r"--classes=\('a', 'A'\): accepted: names that differ in more than capital"),
        (["--classes=cat,a/b"], "--classes: 'a/b'; accepted: names that a folder can have"),
        (["--classes=cat,unsure"], "--classes: 'unsure'; accepted"),
        (["--classes=cat,dog", "--oracle=pagee"], "--oracle='pagee': did you mean 'page'"),
        (["--classes=cat,dog", "--budget=0"], "--budget=0: accepted: a whole number of at least 1"),
    ],
)
def test_flags_are_refused_by_their_own_names(flags, problem, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        sys.exit(cli.main(["label", str(tmp_path), f"--workdir={tmp_path / 'run'}", *flags]))
    assert ended.value.code == 2
    assert re.search(problem, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
