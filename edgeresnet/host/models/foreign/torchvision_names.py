"""Names of torchvision, timm and MMPretrain; a ``shortcut`` for the downsample is kuangliu's."""

from __future__ import annotations

import re

from edgeresnet.host.models.foreign.origin import WEIGHT, Origin

TORCHVISION = Origin(
    re.compile(rf"^(?P<prefix>(?:.*\.)?)layer[1-4]\.\d+\.conv\d\.{WEIGHT}"),
    ((re.compile(r"(layer[1-4]\.\d+)\.shortcut\.([01]\.\w+)$"), r"\1.downsample.\2"),),
)
