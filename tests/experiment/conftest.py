"""Runs in this process draw no figures: those of the launcher, and tests of the report, do."""

import pytest

from aljax.report import figures


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    """Spares the seconds that they take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", ())
        yield
