"""Where checkpoints come from that name their tensors in their own way: one file an origin.

What only wraps torchvision's names (timm, MMPretrain, Lightning, scripts) needs no line here.
"""

from __future__ import annotations

from edgeresnet.host.models.foreign.detectron2 import DETECTRON2
from edgeresnet.host.models.foreign.hugging_face import HUGGING_FACE
from edgeresnet.host.models.foreign.keras import KERAS
from edgeresnet.host.models.foreign.origin import Origin
from edgeresnet.host.models.foreign.pytorch_cifar100 import PYTORCH_CIFAR100
from edgeresnet.host.models.foreign.sequential import SEQUENTIAL
from edgeresnet.host.models.foreign.torchvision_names import TORCHVISION

ORIGINS: dict[str, Origin] = {
    "torchvision": TORCHVISION,
    "Hugging Face": HUGGING_FACE,
    "Detectron2": DETECTRON2,
    "Keras": KERAS,
    "pytorch-cifar100": PYTORCH_CIFAR100,
    "a Sequential": SEQUENTIAL,
}
