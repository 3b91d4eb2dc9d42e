"""The networks."""

from aljax.models.resnet18 import LossPredictor, ResNet18

__all__ = ["LossPredictor", "ResNet18"]
