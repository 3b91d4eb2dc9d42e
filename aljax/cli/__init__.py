"""The command line: aljax COMMAND, python -m aljax COMMAND, or python launch.py for `aljax run`."""

import atexit
import gc
import importlib
import signal
import sys
from collections.abc import Sequence

import aljax

COMMANDS = {
    "run": "runs a study, or what is left of it",
    "sweep": "runs trials of several configs as jobs, of a cluster or of this machine, and joins them",
    "label": "asks a person for the classes of images, and learns from the answers",
    "status": "shows labels per class, the accuracy, and what another batch would cost",
    "predict": "predicts the class of every image of a folder",
    "export": "writes the labels that people gave as a table, as folders, or for Label Studio",
    "review": "lists the answers that a cross-validated model doubts",
    "simulate": "replays the study on the labels that people gave",
    "report": "makes the report of a run, or lays several side by side",
    "accuracy": "compares the accuracies of runs on the same seeds",
    "verify": "checks every file of a run directory",
    "repair": "makes derived files of a run directory again, and names what is lost",
    "join": "makes one run directory of trials that ran apart",
    "embed": "embeds the images of a folder with a pretrained network",
    "select": "selects from features in shards on a disk",
}
USAGE = "usage: aljax COMMAND [...]; aljax COMMAND --help tells more; aljax --version\n\n" + "\n".join(
    f"  {name:8} {text}" for name, text in COMMANDS.items()
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command of `COMMANDS`, the main(arguments) of a module here; returns the exit status."""
    if arguments is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback out of an import; commands handle it
        atexit.register(gc.freeze)  # the end of a process searches no garbage
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ("--help",)
    if command in ("-h", "--help", "--version"):
        try:
            print(f"aljax {aljax.__version__}" if command == "--version" else USAGE, flush=True)
            return 0
        except OSError as error:
            from aljax.cli.guard import unusable

            return unusable(error)
    if command not in COMMANDS:
        from aljax.cli.guard import say
        from aljax.registry import meant

        known = ", ".join(COMMANDS)
        return say(f"{command}: no such command; {meant(command, COMMANDS)}accepted: {known}", 2)
    return importlib.import_module(f"aljax.cli.{command}").main(rest)
