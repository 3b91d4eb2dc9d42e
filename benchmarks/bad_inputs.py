"""Bad input for `benchmarks.faults`: command lines, config files, data folders, kinds and permissions."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aljax.config import FIELDS
from tests.ordinary import RIGHTS

VALUES = [
    *("", " ", "0", "-1", "1", "2", "3", "2147483647", "2147483648", "9223372036854775808", "1" * 5000),
    *("1e308", "-0.0", "nan", "inf", "0.5", "True", "None", "()", "(1,)", "(" * 300, "[1, 'a']", "{[]: 1}"),
    *(
        "고양이",
        "a\nb",
        "\udcff",
        "../x.py:f",
        "x:y",
        "~nobody/x",
        "all",
        "random",
        "core_set",
        "('margin',)",
    ),
    *("stream", "synthesis"),
]
DEFAULT = "from aljax.config import default\ndef get_config():\n c = default(); {}; return c"
CONFIGS = {
    "empty": "",
    "no function": "x = 1",
    "syntax": "def get_config(:",
    "raises": "raise RuntimeError('no')",
    "exits": "import sys; sys.exit(0)",
    "interrupts": "def get_config(): raise KeyboardInterrupt",
    "returns nothing": "def get_config(): pass",
    "returns a dictionary": "def get_config(): return {}",
    "an empty config": "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict()",
    "another field": DEFAULT.format("c.x = 1"),
    "no group": DEFAULT.format("c.train = 3"),
    "a huge number": DEFAULT.format("c.seed = 10**5000"),
    "endless recursion": "def get_config(): return get_config()",
    "bytes": "\xff\x00",
}
FOLDERS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.mkdir(),
    "a file": lambda path: path.touch(),
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
    "no test": lambda path: (path / "train" / "a").mkdir(parents=True),
    "empty classes": lambda path: _classes(path),
    "no images": lambda path: _images(path, b"no image"),
    "half an image": lambda path: _images(path, b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
    "a pipe for an image": lambda path: _images(path, None),
}


def _classes(path: Path) -> list[Path]:
    folders = [path / split / name for split in ("train", "test") for name in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def _images(path: Path, content: bytes | None) -> None:
    for folder in _classes(path):
        if content is None:
            os.mkfifo(folder / "1.png")
        else:
            (folder / "1.png").write_bytes(content)


def give(studies: Any, count: int, rng: np.random.Generator, found: Counter[str]) -> list[str]:
    """Gives the commands bad input at least `count` times; returns what went wrong."""
    from aljax import cli

    wrong = []

    def check(kind: str, name: str, main: Callable[[], int]) -> None:
        process = studies.of(main)
        status = process.wait(120)
        if status is None:
            process.send(9)
        if status not in (0, 1, 2) or process.traceback():
            wrong.append(
                f"{kind}, {name!r}: status {status}: {process.log.read_text(errors='replace')[-300:]}"
            )
        found[f"bad input: {kind}"] += 1

    for name, content in CONFIGS.items():
        path = studies.scratch / "config.py"
        path.write_bytes(content.encode("latin-1"))
        check("a config file", name, partial(cli.main, ["run", f"--config={path}"]))
        path.unlink()
    for number, (name, make) in enumerate(FOLDERS.items()):
        path = studies.scratch / f"data-{number}"
        make(path)
        arguments = ["run", "--config.dataset.source=folder", f"--config.dataset.data_dir={path}"]
        arguments.append(f"--workdir={studies.scratch / 'refused'}")
        check("a data folder", name, partial(cli.main, arguments))
    kinds = count // 2
    folder = studies.scratch / "ordinary"
    folder.mkdir()
    command = [*RIGHTS, sys.executable, "-m", "tests.ordinary", str(folder), str(kinds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        wrong.append(f"kinds and permissions: {done.stderr[-500:]}")
    else:
        tried = json.loads(done.stdout.splitlines()[-1])
        found["bad input: a path's kind or permissions"] += tried["tried"]
        wrong += tried["wrong"]
    while sum(times for name, times in found.items() if name.startswith("bad input")) < count:
        names = rng.choice(list(FIELDS), rng.integers(1, 4))
        flags = [f"--config.{name}={VALUES[rng.integers(len(VALUES))]}" for name in names]
        check("a command line", " ".join(flags)[:200], partial(parsed, flags))
    return wrong


def parsed(flags: list[str]) -> int:
    """Runs the launcher up to where the study would begin."""
    from aljax.cli import run

    vars(run)["run"] = lambda *_: 0
    return run.main(flags)
