"""Files and folders that an ordinary user cannot read or write, or that are of another kind."""

import json
import shutil
import subprocess
import sys

import pytest

from tests import ordinary
from tests.harness import ROOT

SOME = 40  # rows of the table; benchmarks.faults tries more


def test_kinds_and_permissions_get_one_line_and_lose_nothing(tmp_path):
    if ordinary.RIGHTS and not shutil.which(ordinary.RIGHTS[0]):
        pytest.skip("as root, without setpriv there are no ordinary rights")
    command = [*ordinary.RIGHTS, sys.executable, "-m", "tests.ordinary", str(tmp_path), str(SOME)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["tried"] >= SOME
