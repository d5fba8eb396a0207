"""What the program beside some weights says of its network, and no tensor shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from edgeresnet.settings.network import STEMS

# Under these keys of what is read: a stem's name, whether there is a max-pool, where strides are.
STEM, POOL = "stem_of_program", "pool_of_program"
STRIDE_IN_1X1 = "stride_in_1x1"


def stem_of_program(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    """A name in `STEMS`; None where no program was read.

    Args:
        content: what was read of the file.
        tensors: of the network, by torchvision's names.
    """
    if POOL not in content or "conv1.weight" not in tensors:
        return content.get(STEM)
    kernel = tensors["conv1.weight"].shape[-1]
    fitting = (n for n, s in STEMS.items() if (s.kernel, s.pool) == (kernel, content[POOL]))
    return next(fitting, None)
