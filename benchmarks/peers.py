"""The networks and the training step of aljax, written for PyTorch: what the benchmarks measure against.

The same ResNet-18 with loss module, the same losses, recipe and augmentation. Images are kept
channels-last, and all of them lie on the device as uint8.

Shapes: N images in the dataset, B in a batch, H x W pixels, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional

from aljax.training.recipe import Recipe

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, before: int, channels: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride > 1 or before != channels:
            self.shortcut.append(nn.Conv2d(before, channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, before, H, W] to [B, channels, H / stride, W / stride]."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(y + self.shortcut(x))


class Networks(nn.Module):
    """ResNet-18 for small images and the module that predicts its loss."""

    def __init__(self, num_classes: int, width: int, channels: int = 3, hidden: int = 128):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        sizes = [width * 2**stage for stage in range(4)]
        self.stages = nn.ModuleList()
        before = width
        for stage, size in enumerate(sizes):
            self.stages.append(nn.Sequential(Block(before, size, 2 if stage else 1), Block(size, size, 1)))
            before = size
        self.classifier = nn.Linear(before, num_classes)
        self.hidden = nn.ModuleList(nn.Linear(size, hidden) for size in sizes)
        self.predictor = nn.Linear(4 * hidden, 1)

    def stages_of(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Images [B, C, H, W] to the global average pool of each stage, [B, c]; the last are the features."""
        x = functional.relu(self.stem_norm(self.stem(x)))
        pooled = []
        for stage in self.stages:
            x = stage(x)
            pooled.append(x.mean((2, 3)))
        return pooled

    def forward(self, x: torch.Tensor, detach: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [B, C, H, W] to logits [B, K] and predicted losses [B], with or without their gradient."""
        pooled = self.stages_of(x)
        inputs = [p.detach() for p in pooled] if detach else pooled
        hidden = [functional.relu(layer(p)) for layer, p in zip(self.hidden, inputs, strict=True)]
        return self.classifier(pooled[-1]), self.predictor(torch.cat(hidden, 1)).squeeze(1)


def loss_of(logits: torch.Tensor, predicted: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> Any:
    """Cross-entropy and ranking loss, a scalar."""
    target = functional.cross_entropy(logits, labels, reduction="none")
    half = len(target) // 2
    lead = (predicted - predicted.flip(0))[:half]
    sign = torch.where(target > target.flip(0), 1.0, -1.0)[:half].detach()
    ranking = functional.relu(recipe.margin - sign * lead).mean()
    return target.mean() + recipe.ranking_weight * ranking


class Training:
    """Networks and optimizer of one way to train: precision, device, compiled, as one CUDA graph."""

    def __init__(
        self,
        recipe: Recipe,
        num_classes: int,
        width: int,
        device: str,
        autocast: bool,
        compiled: bool,
        graph: bool = False,
        channels: int = 3,
    ):
        self.recipe = recipe
        self.device = device
        self.autocast = autocast
        self.detach = False  # the ranking loss leaves the backbone alone
        torch.backends.cudnn.benchmark = True  # the fastest of its kernels, as measured
        self.networks = Networks(num_classes, width, channels).to(device, memory_format=torch.channels_last)
        self.forward: Callable[..., Any] = torch.compile(self.networks) if compiled else self.networks
        self.optimizer = torch.optim.SGD(
            self.networks.parameters(),
            recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=device == "cuda",
        )
        self.graph = torch.cuda.CUDAGraph() if graph else None
        self.placed: tuple[torch.Tensor, torch.Tensor] | None = None  # where the graph finds its batch

    def epoch(self, batches: Callable[[], Batches]) -> None:
        """A step on each batch: images [B, C, H, W], standardized, and labels [B]."""
        self.networks.train()
        for images, labels in batches():
            if self.graph is None:
                self.step(images, labels)
            else:
                self.replay(images, labels)
        synchronize(self.device)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Forward, backward, optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        keep_casts = self.graph is None
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast, cache_enabled=keep_casts):
            logits, predicted = self.forward(images, self.detach)
        loss = loss_of(logits.float(), predicted.float(), labels, self.recipe)
        loss.backward()
        self.optimizer.step()

    def replay(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """A step as one CUDA graph, recorded at the first: nothing is launched kernel by kernel.

        Source: PyTorch, "CUDA semantics", section "Whole-network capture".
        """
        assert self.graph is not None
        if self.placed is None:
            self.placed = images.clone(), labels.clone()
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):  # what is allocated or compiled at first must not be recorded
                    self.step(*self.placed)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self.graph):
                self.step(*self.placed)
        for place, new in zip(self.placed, (images, labels), strict=True):
            place.copy_(new)
        self.graph.replay()

    @torch.inference_mode()
    def predict(self, images: torch.Tensor, chunk: int, mean: torch.Tensor, std: torch.Tensor) -> int:
        """Log probabilities and predicted losses of images [N, H, W, C] uint8; how many there were."""
        self.networks.eval()
        results = []
        for start in range(0, len(images), chunk):
            x = standardized(images[start : start + chunk], mean, std)
            with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
                logits, predicted = self.forward(x)
            results.append((functional.log_softmax(logits.float(), 1), predicted.float()))
        log_probs = torch.cat([log_probs for log_probs, _ in results])
        synchronize(self.device)
        return len(log_probs)


def synchronize(device: str) -> None:
    """Waits until the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def standardized(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """[B, H, W, C] uint8 to [B, C, H, W] float32, channels-last in memory."""
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def on_device(arrays: Sequence[torch.Tensor], recipe: Recipe, count: int) -> Batches:
    """`count` images of a shuffled dataset, cropped and mirrored where they lie.

    The arrays are the images [N, H, W, C] uint8, their labels [N], the mean and the standard deviation [C].
    """
    images, labels, mean, std = arrays
    pad = recipe.pad
    padded = functional.pad(images, (0, 0, pad, pad, pad, pad))
    size, device = images.shape[1], images.device
    order = torch.randperm(len(images), device=device)[:count]
    window = torch.arange(size, device=device)
    for batch in order.split(recipe.batch_size):
        rows, columns = torch.randint(0, 2 * pad + 1, (2, len(batch), 1), device=device) + window
        if recipe.flip:
            mirrored = torch.rand(len(batch), 1, device=device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        crops = padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
        yield standardized(crops, mean, std), labels[batch]


class FromPillow(torch.utils.data.Dataset):
    """One image after another, cropped and mirrored by Pillow, as most research code has it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: Any, std: Any, recipe: Recipe):
        self.images, self.labels = images, labels
        self.mean, self.std = mean, std
        self.recipe = recipe

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        size, pad = self.images.shape[1], self.recipe.pad
        left, top = torch.randint(0, 2 * pad + 1, (2,)).tolist()
        image = ImageOps.expand(Image.fromarray(self.images[index].squeeze()), pad)  # grey ones have two axes
        image = image.crop((left, top, left + size, top + size))
        if self.recipe.flip and torch.rand(()) < 0.5:
            image = ImageOps.mirror(image)
        pixels = (np.asarray(image, np.float32).reshape(size, size, -1) - self.mean) / self.std
        return torch.from_numpy(pixels).permute(2, 0, 1), int(self.labels[index])


def loader(dataset: FromPillow, recipe: Recipe, workers: int, device: str) -> Any:
    """A DataLoader whose workers stay; they are not forked, as JAX runs threads."""
    return torch.utils.data.DataLoader(
        dataset,
        recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=device == "cuda",
        persistent_workers=True,
        multiprocessing_context="spawn",
    )


def from_loader(batches: Any, device: str) -> Batches:
    """The batches of an epoch from a DataLoader, on the device."""
    for images, labels in batches:
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
