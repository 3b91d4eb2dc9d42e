"""Checks that a run goes on from what it wrote; nothing that disagrees is overwritten."""

import hashlib
from pathlib import Path

from absl import logging

from aljax import agreement
from aljax.errors import InvalidInputError, RunError
from aljax.records import files, manifest, selections, verify


def damaged(workdir: Path, lines: list[files.Record], finished: bool) -> frozenset[str]:
    """Returns the names of files that are missing or damaged, and that the run can make again.

    Args:
      workdir: the run directory.
      lines: of its complete cycles.
      finished: whether these are all.

    Raises:
      InvalidInputError: if the manifest is damaged.
      RunError: if another file is not as it was written.
    """
    if not manifest.exists(workdir):
        if lines and not finished:
            raise RunError(f"{workdir / manifest.NAME}: missing; `aljax repair` makes it again")
        return frozenset()
    wrong = manifest.wrong(workdir)
    if not finished:  # the other files are made at its end
        wrong = {name: problem for name, problem in wrong.items() if manifest.lasts(name)}
    made_again = {name for name, problem in wrong.items() if manifest.remade(name, problem)}
    problems = [f"{workdir / name}: {problem}" for name, problem in wrong.items() if name not in made_again]
    if finished and manifest.finished(workdir):
        problems += verify.summaries(workdir, lines)
    if problems:
        more = f", and {len(problems) - 1} more problems" if len(problems) > 1 else ""
        raise RunError(
            f"{problems[0]}{more}; nothing was written: `aljax verify` names every problem, "
            "`aljax repair` makes again what can be"
        )
    for name in sorted(made_again):
        logging.warning("%s: %s; it is made again", workdir / name, wrong[name])
    return frozenset(made_again)


def check_recorded(path: Path, line: files.Record, compared: agreement.Agreement, digest: str) -> None:
    """Raises InvalidInputError if a selections file is not the one that a line of cycles.jsonl is about."""
    if line.get("overlap") != compared.overlap:
        raise InvalidInputError(
            f"{path}: the selections share {compared.overlap} images, and cycles.jsonl says "
            f"{line.get('overlap')}; accepted: the file of this run"
        )
    if line.get("selections_sha256") != digest:
        raise InvalidInputError(
            f"{path}: its SHA-256 is {digest[:16]}, and cycles.jsonl says "
            f"{str(line.get('selections_sha256'))[:16]}; accepted: the file of this run"
        )


def check_made_again(path: Path, line: files.Record, selected: selections.Selections) -> None:
    """Raises RunError if selections that were missing or damaged do not come out as they were recorded."""
    if hashlib.sha256(selections.content(selected)).hexdigest() != line.get("selections_sha256"):
        raise RunError(
            f"{path}: missing or damaged, and made again it is not what cycles.jsonl says; it was not written"
        )
