"""What is exported, and what its bundle says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeresnet.device.bundle.manifest import Manifest
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.targets.outputs import Output
from edgeresnet.device.targets.precision import (
    WIDE,
    float_precision,
    is_quantized,
    layer_precision,
)
from edgeresnet.host.export.graph import nodes_of
from edgeresnet.host.models.layer_counts import count_layers

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeresnet.device.bundle.signature import Signer
    from edgeresnet.device.targets.protocol import Target
    from edgeresnet.host.models.checkpoint import Checkpoint
    from edgeresnet.host.models.quant_resnet import QuantResNet
    from edgeresnet.progress import TaskContext
    from edgeresnet.settings.export import ExportOptions


@dataclass(frozen=True, eq=False)
class Job:
    """What is exported, and how.

    Attributes:
        model: the checkpoint's network, folded, in eval mode; its weights as they are exported.
        saturation: for the manifest; None where no products can saturate.
        outputs: that the bundle gives; none where it gives logits alone.
    """

    checkpoint: Checkpoint
    model: QuantResNet
    target: Target
    precision: str
    options: ExportOptions
    context: TaskContext
    sign: Signer | None = None
    saturation: dict[str, Any] | None = None
    outputs: tuple[Output, ...] = ()


def manifest_of(
    job: Job, graph: ir.Model, model_name: str, proof: dict[str, Any], golden_spread: float
) -> Manifest:
    """What a proven bundle says of itself, but for its golden images and files.

    Layers that only a left out output needs are not listed.

    Args:
        job: what is exported.
        graph: as it is written.
        model_name: of the file that the runtime opens.
        proof: what `edgeresnet.host.export.logit_proof` and its like have found.
        golden_spread: range of the golden logits.
    """
    checkpoint, precision = job.checkpoint, job.precision
    layers = count_layers(job.model, checkpoint.input_spec.image_size)
    written = {node.name for node in nodes_of(graph.graph, "Conv", "Gemm")}
    layers = [layer for layer in layers if not job.outputs or layer.name in written]
    return Manifest(
        target=job.target.spec.name,
        precision=precision,
        arch=checkpoint.arch,
        stem=checkpoint.stem,
        classes=checkpoint.classes,
        input_spec=checkpoint.input_spec,
        embed_preprocess=job.options.embed_preprocess,
        batch=job.options.batch,
        model=model_name,
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        # For an edgeresnet that knows no bound in logits.
        golden_tolerance=proof.get("logit_bound", 0.0) / golden_spread,
        data=checkpoint.data,
        data_fingerprint=checkpoint.data_fingerprint,
        proof=proof,
        provenance={
            "exported_with": versions(),
            "quantization": checkpoint.quantization if is_quantized(precision) else None,
            **checkpoint.provenance,
        },
        widths=checkpoint.widths.to_dict(),
        layers=tuple(
            {**vars(one), "precision": precision_of_layer(one.name, job.model, precision)}
            for one in layers
        ),
        logit_bound=proof.get("logit_bound"),
        classes_known=checkpoint.classes_known,
        stride_in=checkpoint.stride_in,
        saturation=job.saturation,
        outputs=job.outputs,
    )


def precision_of_layer(layer: str, model: QuantResNet, precision: str) -> str:
    """Of a layer in a bundle of that precision."""
    if is_quantized(precision) and layer in model.float_layers:
        return float_precision(precision)
    if is_quantized(precision) and layer in model.wide_layers:
        return WIDE
    return layer_precision(precision)
