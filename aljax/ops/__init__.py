"""Numerical kernels without a notion of learning."""
