"""The ways in which a run ends early."""


class Refused(Exception):
    """What the user gave cannot be used: one line with the field or file, its value, what is accepted."""


class RunFailed(Exception):
    """The run itself went wrong: one line that says where."""


class NotFinite(RunFailed):
    """Training went astray: one line that says in which epoch and step."""


class Interrupted(Exception):
    """The run was asked to stop, and has saved what it had."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number
