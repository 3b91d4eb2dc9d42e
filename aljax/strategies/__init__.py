"""Query strategies: which images of a sub-pool to label next."""

from aljax.strategies.registry import STRATEGIES, Selection, View, core_set, needs

__all__ = ["STRATEGIES", "Selection", "View", "core_set", "needs"]
