"""What a checkpoint holds, layer by layer."""

from __future__ import annotations

from typing import Any

from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.models.layer_counts import count_layers
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold


def describe_checkpoint(
    source: str,
    image_size: int | None = None,
    *,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
) -> dict[str, Any]:
    """The JSON contract of ``inspect``, for a checkpoint of any origin."""
    checkpoint = load_checkpoint(source, image_size=image_size, raw=raw, network=network)
    size = checkpoint.input_spec.image_size
    layers = count_layers(checkpoint.outline(), size)
    floats = checkpoint.float_layers
    return {
        "arch": checkpoint.arch,
        "stem": checkpoint.stem,
        "stride_in": checkpoint.stride_in,
        "classes": list(checkpoint.classes),
        "image_size": size,
        "parameters": sum(layer.parameters for layer in layers),
        "normalization_folded": checkpoint.precision == "int8",
        "macs": sum(layer.macs for layer in layers),
        "precision": checkpoint.precision,
        "data": checkpoint.data,
        "widths": checkpoint.widths.to_dict(),
        "pruning": checkpoint.provenance.get("pruning"),
        "assumed": checkpoint.provenance.get("assumed"),
        "notes": checkpoint.provenance.get("notes", []),
        "layers": [
            {**vars(one), "precision": "fp32" if one.name in floats else checkpoint.precision}
            for one in layers
        ],
    }
