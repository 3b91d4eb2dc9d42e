"""Image classification data sets as plain arrays."""
