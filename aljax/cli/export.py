"""Hands out the labels of a run that people label: aljax export."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, expanded, guarded, output

DESCRIPTION = "Writes the labels of a run as a table, as a folder per class, or as tasks of Label Studio."
STATUS = "Exit status: 0 done, 1 it could not be written, 2 it is no run that people label."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax export", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    forms = ("csv", "imagefolder", "label_studio")
    parser.add_argument("--to", choices=forms, required=True, help="the form")
    parser.add_argument("--out", type=Path, required=True, help="the file, or the new folder, to write")
    given = parser.parse_args(arguments)
    from aljax.experiment import export

    workdir = expanded(given.run_dir)
    out = output(given.out, workdir, export.data_dir(workdir), folder=given.to == "imagefolder")
    count = export.FORMS[given.to](workdir, out)
    print(f"{given.out}: {count:,} labeled images")
    return 0
