"""Query strategies: which images of a sub-pool to label next.

A strategy's own file has its name, and so has the function: `aljax.strategies.core_set` is the
function, as is every name in `STRATEGIES`.
"""

from aljax.strategies.base import Selection, View, highest, needs, scored
from aljax.strategies.registry import STRATEGIES, find, needs_of, select

__all__ = ["STRATEGIES", "Selection", "View", "find", "highest", "needs", "needs_of", "scored", "select"]

globals().update(STRATEGIES)
