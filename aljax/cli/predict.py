"""Predicts the class of every image of a folder: aljax predict."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, expanded, guarded, output, say

DESCRIPTION = "Predicts the class of every image of a folder with the model of a run."
STATUS = """The table has the columns file, label and probability, and one for each class by its name.
Exit status: 0 done, 1 it could not be written, 2 there is no model, or no image that can be read."""


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax predict", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    parser.add_argument(
        "dir", type=Path, nargs="?", help="the folder of images, or file of embeddings (default: the run's)"
    )
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    given = parser.parse_args(arguments)
    from aljax.experiment import saved
    from aljax.records import files, stored_config

    workdir = expanded(given.run_dir)
    model = saved.load(workdir)
    config = stored_config.flat(workdir / "config.json")
    source = expanded(given.dir or Path(config["dataset.data_dir"]))
    out = output(given.out, workdir, source)
    predict = saved.table_of_embeddings if config["dataset.source"] == "embeddings" else saved.table
    content, count, left_out = predict(model, source)
    files.write(out, content)
    print(f"{given.out}: {count:,} images")
    for file, reason in left_out:
        say(f"{file}: left out ({reason})", 0)
    return 0
