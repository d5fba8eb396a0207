"""How a checkpoint of somebody else's is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

RawWeights = Annotated[
    bool,
    Field(
        description="Take a foreign checkpoint's weights themselves where their moving average "
        "(EMA) is in the file too."
    ),
]
