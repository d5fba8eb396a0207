"""Recipes of strangers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.hostile.attack import Attack

GOOD = """\
name: theirs
data: digits
model: {arch: resnet18, stem: small}
image_size: 16
train: {epochs: 1}
"""
WRONG = {
    "no YAML": "a: [",
    "explodes": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n"
              for i in range(9)),
    "tag that runs code": "name: !!python/object/apply:os.system ['touch ../outside/ran']\n",
}  # fmt: skip


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Each is refused before any work."""
    for name, text in WRONG.items():
        path = folder / "recipe.yaml"
        path.write_text(GOOD + text)
        yield Attack(name, ("run", path.name, "-o", "run"))
