"""Residual-aware pruning: which channels belong together, what they are worth, what may go."""

from edgeresnet.prune.stage import prune_checkpoint

__all__ = ["prune_checkpoint"]
