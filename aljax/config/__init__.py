"""What a study is told: its fields and their checks."""

from aljax.config.checks import FIELDS, check, unknown

__all__ = ["FIELDS", "check", "unknown"]
