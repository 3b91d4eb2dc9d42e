"""Measurements, each one command; not part of the test run."""
