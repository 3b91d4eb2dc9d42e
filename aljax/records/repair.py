"""Makes the derived files of a run directory again from their witnesses, and names what has none."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aljax.records import arrays, files, manifest, places, reader, selections, stored_config, verify
from aljax.records.directory import DIAGNOSTICS
from aljax.records.files import Record

# Records that only a line holds.
LOST = {
    "cycles.jsonl": "accuracy, test_loss and train_loss are lost; with the file cut before this line, "
    "the command of the run makes this cycle and those after it again",
    "timings.jsonl": "the seconds per phase are lost",
    DIAGNOSTICS: "distances, correlations and class counts are lost",
}


def repair(workdir: Path, report: Callable[[Path], object]) -> list[str]:
    """Makes again what can be made from other files, and enters it into the manifest.

    Pairs and images come from the selections, the summary, the figures and the page from the records.

    Args:
      workdir: the run directory.
      report: makes the report in a run directory.

    Returns:
      One line for each problem that is left: what has no witness.

    Raises:
      InvalidInputError: if the config cannot be used.
      RunError: if a file cannot be written.
    """
    plan = places.plan(stored_config.checked(workdir / "config.json"))
    lost = [line for name in LOST for line in _lost(workdir / name, plan)]
    if not any(line.startswith(f"{workdir / 'cycles.jsonl'}:") for line in lost):
        lines, _ = files.read_lines(workdir / "cycles.jsonl")
        manifest.replace(workdir, {**_pairs(workdir, lines), **dict(_images(workdir, lines))})
        report(workdir)
        _list(workdir)
    known = tuple(line.split(": ")[0] for line in lost)
    return [*lost, *(line for line in verify.problems(workdir) if line.split(": ")[0] not in known)]


def _list(workdir: Path) -> None:
    """Writes a manifest that is damaged or missing, if all else is right."""
    path = workdir / manifest.NAME
    left = list(verify.problems(workdir))
    if left and all(line.startswith((f"{path}: missing", f"{path}: damaged")) for line in left):
        manifest.write(workdir, whole=not reader.unfinished(reader.load(workdir)))


def _lost(path: Path, plan: Sequence[places.Place]) -> Iterator[str]:
    """Yields a line for each damaged line of a file, with what is lost."""
    content = files.read(path) if path.exists() else b""
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            files.decoded(line + b"\n")
        except ValueError as error:
            trial, cycle = plan[min(number, len(plan)) - 1]
            yield f"{path}:{number}: damaged ({error}); trial {trial}, cycle {cycle}: {LOST[path.name]}"


def _pairs(workdir: Path, lines: Sequence[Record]) -> dict[str, bytes]:
    """Returns pairs.jsonl as intact selections give it, if it is not that already."""
    for line in lines:
        path = selections.path_of(workdir, line["trial"], line["cycle"])
        if selections.digest(path) != line.get("selections_sha256"):
            return {}
    path = workdir / "pairs.jsonl"
    content = b"".join(map(files.encoded, verify.expected_pairs(workdir, lines)))
    intact = not content or (path.exists() and files.read(path).startswith(content))
    return {} if intact else {path.name: content}


def _images(workdir: Path, lines: Sequence[Record]) -> Iterator[tuple[str, bytes]]:
    """Yields the images that were made and queried, and are not there as the selections hold them."""
    for line in lines:
        path = selections.path_of(workdir, line["trial"], line["cycle"])
        if selections.digest(path) != line.get("selections_sha256"):
            continue
        chosen = selections.load(path)
        for number, image in enumerate(chosen.details.get("images", ()) if chosen else ()):
            file = path.with_suffix("") / f"{number:03d}.png"
            if not arrays.shows(file, image) or files.read(file) != arrays.png(image):
                yield file.relative_to(workdir).as_posix(), arrays.png(image)
