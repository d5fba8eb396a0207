"""What a DLA does not take."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.errors import InputError


def is_quantized_file(model_path: Path) -> bool:
    """Whether an ``.onnx`` file has Q/DQ, which TensorRT takes its int8 from."""
    return b"QuantizeLinear" in model_path.read_bytes()


def check_dla(model_path: Path, device: str, *, quantized: bool) -> None:
    """Refuse a quantized model for a DLA, which takes no Q/DQ: it knows implicit scales only."""
    if quantized and device.startswith("dla"):
        raise InputError(
            f"{model_path} is quantized by Q/DQ, and a DLA takes none",
            "export the float checkpoint with --target tensorrt --fp16 for the DLA, or run this "
            "one with --device gpu.",
        )
