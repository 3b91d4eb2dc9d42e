"""The ways in which a run ends early."""


class InvalidInputError(Exception):
    """Reports input that cannot be used: one line with the field or file, its value, what is accepted."""


class RunError(Exception):
    """Reports a run that failed: one line that says where."""


class NonFiniteError(RunError):
    """Reports that training diverged: a loss or a weight is not finite, in which epoch and step."""


class Interrupted(Exception):
    """Reports a run that was asked to stop, and has saved its progress."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text; the name of its kind, if it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
