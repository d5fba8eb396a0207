"""Names of torchvision's ResNet taken apart into a sequence, as fastai and many scripts do."""

from __future__ import annotations

import re

from edgeresnet.host.models.foreign.origin import WEIGHT, Origin

# ``nn.Sequential(*list(resnet.children())[:-2])``: 0 conv1, 1 bn1, 2 relu, 3 maxpool, 4 … layer1 ….
SEQUENTIAL = Origin(
    re.compile(rf"^(?P<prefix>(?:.*\.)?)[4-7]\.\d+\.conv\d\.{WEIGHT}"),
    (
        (re.compile(r"0\.(?=\w+$)"), "conv1."),
        (re.compile(r"1\.(?=\w+$)"), "bn1."),
        (
            re.compile(r"([4-7])\.(?=\d+\.(conv\d|bn\d|downsample\.\d)\.\w+$)"),
            lambda m: f"layer{int(m[1]) - 3}.",
        ),
    ),
    head="fastai's usual head pools in two ways and has two linear layers: train with "
    "vision_learner(…, custom_head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
    "nn.Linear(features, classes))), and give that checkpoint.",
)
