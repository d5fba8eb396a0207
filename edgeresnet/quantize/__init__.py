"""Residual-aware fake quantization, calibration and quantization-aware training."""

from edgeresnet.quantize.stage import quantize_checkpoint

__all__ = ["quantize_checkpoint"]
