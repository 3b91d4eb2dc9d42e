"""The config of a study: the table of its fields, their checks, and the files that set them."""

from aljax.config.checks import check, check_fits
from aljax.config.fields import FIELDS, default, flatten
from aljax.config.plan import budget_of, embedded, images_in, labeled_after
from aljax.config.studies import study

__all__ = [
    "FIELDS",
    "budget_of",
    "check",
    "check_fits",
    "default",
    "embedded",
    "flatten",
    "images_in",
    "labeled_after",
    "study",
]
