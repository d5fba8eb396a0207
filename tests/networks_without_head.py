"""A network without a classifier, of one that has it."""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.host.models.checkpoint import Checkpoint


def without_head(checkpoint: Checkpoint) -> Checkpoint:
    """As `load_checkpoint` gives a file of the same tensors but the classifier's."""
    tensors = {n: t for n, t in checkpoint.state_dict.items() if not n.startswith("fc.")}
    return replace(checkpoint, state_dict=tensors, classes=(), classes_known=False)
