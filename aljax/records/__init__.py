"""The run directory: written, read, checked."""
