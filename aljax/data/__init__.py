"""Image classification data sets as plain arrays."""

from aljax.data.dataset import Dataset, LeftOut, Split, channel_statistics, digest, load

__all__ = ["Dataset", "LeftOut", "Split", "channel_statistics", "digest", "load"]
