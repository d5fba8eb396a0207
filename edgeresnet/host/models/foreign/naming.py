"""How other frameworks name the tensors of a ResNet: one file an origin, each a `Naming`."""

from __future__ import annotations

from edgeresnet.host.models.foreign.detectron2 import DETECTRON2
from edgeresnet.host.models.foreign.hugging_face import HUGGING_FACE
from edgeresnet.host.models.foreign.pytorch_cifar100 import PYTORCH_CIFAR100
from edgeresnet.host.models.foreign.rules import Naming
from edgeresnet.host.models.foreign.torchvision_names import TORCHVISION

NAMINGS: tuple[Naming, ...] = (TORCHVISION, HUGGING_FACE, DETECTRON2, PYTORCH_CIFAR100)

__all__ = ["NAMINGS", "Naming"]
