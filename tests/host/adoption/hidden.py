"""Whether `adopt` found what a file hides, judged by one who knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from edgeresnet.api.adopt import adopt
from edgeresnet.host.adoption.comparison import SHAPE, shape_words
from edgeresnet.host.adoption.space import Candidate
from edgeresnet.progress import TaskContext
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold
from tests.somebody_elses import (
    CLASSES,
    Hidden,
    Trained,
    network_of,
    output_order,
    save_file,
    to_input,
)

CROPS: dict[str | float, str] = {
    "squash": "usual",
    0.875: "middle 0.875",
    0.95: "middle 0.95",
    1.0: "shorter side",
}
# Small images are squashed by convention.
TAKEN_CROPS = {"squashed": "squash", **{name: crop for crop, name in CROPS.items()}}
SHAPED = ("stem", "stride_in", "size", "crop")
FIELDS = ("weights", "stem", "stride_in", "size", "crop", "interpolation", "channels",
          "normalization")  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Of one file.

    Attributes:
        word: ``exact``; ``excused``: what was taken in its place cannot be told from the truth on
            so many images; ``undecided``: it could; ``wrong``: the truth was ruled out.
        fields: that are not as they were.
    """

    word: str
    fields: tuple[str, ...]
    seconds: float


def truth_of(hidden: Hidden) -> dict[str, Any]:
    """As `adopt` would say it."""
    weights = "EMA" if hidden.weights == "EMA" else "raw"
    values = {**vars(hidden), "weights": weights, "crop": CROPS[hidden.crop]}
    return {name: values[name] for name in FIELDS}


def adopt_and_judge(
    trained: Trained,
    hidden: Hidden,
    data: Path,
    images: tuple[list[Image.Image], Tensor],
    folder: Path,
    *,
    width: int,
    rng: np.random.Generator,
    image_size: int | None = None,
    network: NetworkTold = NOTHING_TOLD,
) -> tuple[Verdict, Mapping[str, Any]]:
    """Write the file, adopt it, and compare.

    Args:
        data: the folder whose images ``images`` are.
        images: for the judge.
        image_size: told, where it is not to be found.
        network: told, likewise.
    """
    order = output_order(hidden, rng)
    save_file(trained, hidden, order, folder / "theirs.pth")
    results = adopt(
        folder / "theirs.pth",
        folder / "ours.pt",
        image_size=image_size,
        network=network,
        context=TaskContext(data=str(data)),
    )
    truth, found = truth_of(hidden), results["settings"]
    differing = [name for name in FIELDS if found[name] != truth[name]]
    if results["classes"] != [CLASSES[i] for i in order]:
        return Verdict("wrong", ("classes", *differing), results["seconds"]), results
    left = {(row["setting"], row["option"]) for row in results["not_distinguished"]}
    judge = Judge(trained, hidden, images, width)
    shape = shape_words(Candidate(**truth))
    shaped = SHAPED if (SHAPE, shape) in left else ()
    if any((name, truth[name]) not in left and name not in shaped for name in differing):
        word = "wrong"
    elif judge.tells({name: found[name] for name in differing}):
        word = "undecided"
    else:
        word = "excused" if differing else "exact"
    return Verdict(word, tuple(differing), results["seconds"]), results


class Judge:
    """Knows how a network was trained; torchvision's transforms and a plain network."""

    def __init__(
        self,
        trained: Trained,
        hidden: Hidden,
        images: tuple[list[Image.Image], Tensor],
        width: int,
    ) -> None:
        self._trained, self._hidden, self._width = trained, hidden, width
        self._images, self._labels = images
        self._right = self.right(hidden)

    def right(self, hidden: Hidden) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(n,) whether each answer is right if it had been trained so."""
        model: nn.Module = network_of(hidden, self._width).eval()
        model.load_state_dict(self._trained.good)
        inputs = to_input(self._images, hidden)
        with torch.inference_mode():
            parts = [model(part).argmax(1) for part in inputs.split(256)]
        right: np.ndarray[Any, np.dtype[np.bool_]] = (torch.cat(parts) == self._labels).numpy()
        return right

    def tells(self, taken: Mapping[str, Any]) -> bool:
        """Whether the paired 95 % interval on these images tells what was taken from the truth.

        Args:
            taken: the fields that are not as they were.
        """
        if not taken.keys().isdisjoint(("weights", "channels")):
            return True  # both were far from each other when the file was made
        values = dict(taken)
        if "crop" in values:
            values["crop"] = TAKEN_CROPS[values["crop"]]
        other = self.right(replace(self._hidden, **values))
        n = len(other)
        gained = int((other & ~self._right).sum())
        lost = int((self._right & ~other).sum())
        # Bonett and Price, 2012.
        up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
        half = 1.96 * sqrt((up + down - (up - down) ** 2) / (n + 2))
        return abs(up - down) > half
