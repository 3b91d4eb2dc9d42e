"""Embeds the images of a folder with a pretrained network: aljax embed."""

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, expanded, guarded, output, say

DESCRIPTION = """Embeds the images of a folder with a pretrained network, for
--config.dataset.source=embeddings. Images in DIR/train/CLASS/ and DIR/test/CLASS/ are labeled; all others,
at any depth, are not. The same command goes on where it was stopped, and embeds images that are new."""
STATUS = """Exit status: 0 done, 1 a file could not be written, 2 the folder, the model or the output is
unusable, 128 and the signal's number: stopped, with what is embedded kept."""


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax embed", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder of images")
    parser.add_argument("--out", metavar="FILE.npz", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--model",
        default="lite0",
        help="lite0 (EfficientNet-Lite0, ImageNet; default), a folder with a checkpoint's config.json and "
        'model.safetensors, or your own as "path/to/file.py:function"',
    )
    parser.add_argument(
        "--pixels", type=int, help="size that images are resized to (default: the model's own)"
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leaves out files that cannot be decoded"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="this process (default), or Ray: the cluster of RAY_ADDRESS, else processes of this machine",
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="of Ray (default: one for each of its GPUs, or CPUs)"
    )
    given = parser.parse_args(arguments)
    if given.workers < 0 or (given.workers and given.engine != "ray"):
        parser.error(f"--workers={given.workers}: accepted: with --engine=ray, a whole number of at least 0")
    if given.pixels is not None and not 16 <= given.pixels <= 4096:
        parser.error(f"--pixels={given.pixels}: accepted: 16 to 4096")
    if given.out.suffix != ".npz":
        parser.error(f"--out={str(given.out)!r}: accepted: the name of a file that ends in .npz")
    folder, out = expanded(given.folder), output(given.out)
    return _embed(folder, out, given)


def _embed(folder: Path, out: Path, given: Namespace) -> int:
    from aljax.experiment import embed, embed_ray
    from aljax.models import encoders
    from aljax.runtime import compilation

    compilation.set_flags()
    compilation.keep()
    devices = embed.spread()  # before the weights are loaded, which starts JAX
    begin = time.monotonic()
    encoder = encoders.find(given.model, given.pixels or 0)
    by_ray = given.engine == "ray"
    engine = (
        embed_ray.engine(given.model, encoder.pixels, given.workers)
        if by_ray
        else embed.local(encoder, devices)
    )
    made = embed.embed(folder, out, encoder, engine, given.skip_unreadable)
    seconds = time.monotonic() - begin
    if made.left_out:
        reasons = Counter(reason.partition(":")[0] for _, reason in made.left_out)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        say(f"files left out, which the array left_out names: {counts}", 0)
    (count, size), labeled = made.features.shape, int((made.labels >= 0).sum())
    new = f"{made.computed:,} new in {seconds:.0f} s ({made.computed / seconds:.1f}/s)"
    print(
        f"{out}: {count:,} images x {size:,} values, {labeled:,} labeled in {len(made.class_names)} classes, "
        f"{new if made.computed else 'none new'}"
    )
    return 0
