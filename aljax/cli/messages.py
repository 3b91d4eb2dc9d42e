"""Messages of the commands: one line on standard error, and the exit status that goes with it."""

import argparse
import sys
from typing import NoReturn

from aljax.errors import Interrupted, InvalidInputError


class Parser(argparse.ArgumentParser):
    """Parses a command's arguments; refuses wrong ones in one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong, and exits."""
        say(f"{message}; accepted: see {self.prog} --help")
        sys.exit(2)


def say(text: str) -> None:
    """Prints one line on standard error."""
    print("aljax:", " ".join(text.split()), file=sys.stderr)


def failed(error: Exception) -> int:
    """Prints why a command failed; returns its exit status: 2 invalid input, 128 + n signal n, else 1."""
    say(str(error))
    if isinstance(error, Interrupted):
        return 128 + error.signal_number
    return 2 if isinstance(error, InvalidInputError) else 1
