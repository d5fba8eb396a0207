"""How far a training is, and the file by which an interrupted one goes on."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypedDict

from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.dataset import Dataset
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.host.models.checkpoint_record import DIGEST, save_atomically
from edgeresnet.host.models.foreign.damage import first_line
from edgeresnet.host.models.foreign.reading import read_tensors
from edgeresnet.host.models.torch_threads import resume_threads
from edgeresnet.host.models.weights import check_tensors, tree_digest
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.training.step import Learner
from edgeresnet.progress import OnStep
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.untrusted import checked

# 2: the key has the images' contents in it, and not only their names.
RESUME_VERSION = 2


# What torch raises where a file's state is not of this network and optimizer.
_MISFITS = (InputError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError)
_Count = Annotated[int, Field(ge=0)]


class _Standing(TypedDict):
    epoch: _Count
    step: _Count
    images: _Count
    loss_sum: float
    correct: _Count
    epoch_s: float
    total_s: float
    history: list[dict[str, float]]
    top1: float
    best_top1: float
    best_epoch: _Count


@dataclass
class Standing:
    """How far a training is; the resume file holds it whole."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    epoch_s: float = 0.0
    total_s: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    top1: float = math.nan  # until there was a validation
    best_top1: float = -1.0
    best_epoch: int = 0
    best: dict[str, Tensor] | None = None
    ticked: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """Add the time since the last tick."""
        now = time.monotonic()
        self.total_s += now - self.ticked
        self.ticked = now

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "ticked"}


@dataclass(frozen=True)
class Saver:
    """Writes and reads the resume file; without a path it does nothing."""

    path: Path | None
    key: str

    def save(self, learner: Learner, standing: Standing) -> None:
        """Write all that `load` needs, whole or not at all."""
        standing.tick()
        if self.path is not None and processes().rank == 0:
            content = {"key": self.key, **learner.state(), "standing": standing.to_dict()}
            content["threads"] = torch.get_num_threads()
            save_atomically({**content, DIGEST: tree_digest(content)}, self.path)

    def load(self, learner: Learner, on_step: OnStep) -> Standing:
        """Bring the learner and torch's threads to where the file left them.

        Another file, or a damaged one, is ignored, and the learner then as it was.
        """
        if self.path is None:
            return Standing()
        # The others may see other folders.
        content = processes().by_first(lambda: self._read(on_step))
        if content is None:
            return Standing()
        before = copy.deepcopy(learner.state())
        try:
            standing = _standing_of(content, learner)
            learner.restore(content)
        except _MISFITS as error:
            learner.restore(before)
            on_step(f"{self.path} is damaged ({first_line(error)}): starting afresh")
            return Standing()
        resume_threads(content.get("threads"), on_step)
        on_step(f"resuming behind epoch {standing.epoch}, step {standing.step} ({self.path})")
        return standing

    def _read(self, on_step: OnStep) -> dict[str, Any] | None:
        """What is in the file; None where there is none of this training."""
        assert self.path is not None
        if not self.path.exists():
            return None
        try:
            content = read_tensors(self.path)
        except InputError as error:
            on_step(f"{self.path} cannot be read ({error.cause}): starting afresh")
            return None
        if content.get("key") != self.key:
            on_step(f"{self.path} is of other settings, data or weights: starting afresh")
            return None
        return content


def _standing_of(content: dict[str, Any], learner: Learner) -> Standing:
    """ValueError where the file is not what was saved, or not of this network."""
    rest = {key: value for key, value in content.items() if key != DIGEST}
    # Earlier versions saved none.
    if (told := content.get(DIGEST)) is not None and told != tree_digest(rest):
        raise ValueError("it is not what was saved: its SHA-256 differs")
    values = checked(content["standing"], _Standing)
    if (best := content["standing"].get("best")) is not None:
        like = learner.model.state_dict()
        check_tensors(best, {name: tuple(t.shape) for name, t in like.items()}, "its best network")
    return Standing(**values, best=best)


def training_key(
    learner: Learner, train_set: Dataset, val_set: Dataset, spec: InputSpec, extra: str
) -> str:
    """What must be the same for two trainings to be one."""
    # Where the images are decoded changes no result.
    settings = {k: v for k, v in learner.options.to_dict().items() if k != "workers"}
    shapes = {name: list(t.shape) for name, t in learner.model.state_dict().items()}
    data = [content_fingerprint(train_set), content_fingerprint(val_set)]
    parts = [RESUME_VERSION, settings, shapes, learner.groups(), data, spec.to_dict(), extra]
    return sha256_bytes(json.dumps(parts).encode())


def discard_resume(resume_path: Path | None) -> None:
    """Remove the resume file, once its training's result is safe."""
    if resume_path is not None:
        resume_path.unlink(missing_ok=True)
