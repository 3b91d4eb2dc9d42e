"""aljax: deep active learning experiments in JAX."""

__version__ = "0.1.0"
