"""Checkpoint to bundle: export, encode, prove, write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx_ir as ir

from edgeresnet.device.bundle.bundle import Bundle, build_options, check_replaceable, write_bundle
from edgeresnet.device.bundle.manifest import Manifest
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.targets.export_support import check_inputs, prover_of
from edgeresnet.device.targets.precision import float_precision, is_quantized, layer_precision
from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.device.targets.registry import example_of, target_of
from edgeresnet.host.export.ahead import build_ahead
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.encodings.encode import ENCODINGS
from edgeresnet.host.export.encodings.preprocess import embed_preprocess
from edgeresnet.host.export.lint import check_canonical, check_pattern
from edgeresnet.host.export.logit_bound import reference_logits
from edgeresnet.host.export.logit_proof import LogitProof
from edgeresnet.host.export.precisions import check_precision
from edgeresnet.host.export.proof import expected_layers, prove_integer, tensorrt_kernels
from edgeresnet.host.export.proof_images import NOISE, golden_images, proof_images
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import count_layers
from edgeresnet.host.models.sparsity_2_4 import PATTERN, is_sparse
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint
    from edgeresnet.settings.inputs import InputSpec


@within_quota()
def export_bundle(
    checkpoint: Checkpoint,
    *,
    target: str,
    precision: str,
    out_dir: Path,
    options: ExportOptions | None = None,
    data: str | None = None,
    on_step: Callable[[str], object] = lambda text: None,
) -> Bundle:
    """Export, prove and write one bundle.

    Args:
        checkpoint: float for float precisions; fake-quantized for ``int8``.
        target: ``onnx``, ``openvino``, ``tensorrt`` or ``qnn``.
        precision: ``fp32``, ``int8``, where the runtime has them ``fp16`` and ``bf16``; for
            ``tensorrt`` also ``int8+fp16``, for ``qnn`` ``w8a16``.
        out_dir: the bundle's folder; replaced only when all has succeeded.
        options: batch sizes, embedded preprocessing, golden images.
        data: DATA SPEC of the proof's images (training split) and of the golden ones (validation
            split); None: the one it was calibrated or trained on, else noise.
        on_step: told what is being done.

    Raises:
        InputError: the precision does not fit checkpoint or target.
        MissingError: the runtime is not installed.
        CheckError: logits or kernels are not what they must be.
    """
    options = options or ExportOptions()
    check_replaceable(out_dir)
    check_precision(checkpoint, target, precision)
    check_inputs(target, options.batch, embed_preprocess=options.embed_preprocess)
    on_step(f"exporting {checkpoint.arch} {precision} for {target}")
    model = _folded(checkpoint)
    with tempfile.TemporaryDirectory(prefix="edgeresnet-") as folder:
        graph, files = write_model(
            model, checkpoint.input_spec, target, precision, Path(folder), options
        )
        model_path = next(iter(files.values()))
        if target == "tensorrt":
            build = build_options(
                checkpoint.input_spec,
                options.batch,
                pixels=options.embed_preprocess,
                sparse=is_sparse(checkpoint),
            )
            files |= build_ahead(model_path, build, on_step)
        on_step("proving logits and kernels")
        wanted = _logit_proof(model, checkpoint, precision, options, data)
        if wanted.images.origin == NOISE:
            missing = (
                f"data {checkpoint.data} is not here" if checkpoint.data else "no data is given"
            )
            on_step(f"{missing}: proving on noise")
        proof = _prove(graph, model_path, target, precision, wanted)
        if is_sparse(checkpoint):
            proof |= {"pattern": PATTERN, "sparse_layers": check_pattern(graph)}
        spread = float(np.ptp(wanted.golden_logits)) or 1.0
        manifest = _manifest(
            checkpoint, target, precision, options, model_path.name, proof, model, spread
        )
        if (example := example_of(target)) is not None:
            files[example.name] = example
        return write_bundle(out_dir, manifest, files, wanted.golden, wanted.golden_logits)


def write_model(
    model: QuantResNet,
    spec: InputSpec,
    target: str,
    precision: str,
    folder: Path,
    options: ExportOptions,
) -> tuple[ir.Model, dict[str, Path]]:
    """Write a folded network as the target's model, unproven.

    Returns:
        The encoded graph, and each file by its name in a bundle; the first is the one to open.
    """
    quantized = is_quantized(precision)
    graph = canonical_graph(model, spec.image_size, options.batch, quantized=quantized)
    if quantized:
        check_canonical(graph)
    ENCODINGS[target](graph, precision)
    if options.embed_preprocess:
        embed_preprocess(graph, spec, cast_first=target == "tensorrt")
    return graph, WRITERS[target](graph, folder, precision)


def _folded(checkpoint: Checkpoint) -> QuantResNet:
    """The network with batch normalization folded; unquantized ones get idle quantizers."""
    model = checkpoint.build()
    if not isinstance(model, QuantResNet):
        model = QuantResNet(cast(Any, model))
    model.fold()
    return model.eval()


def _write_onnx(graph: ir.Model, folder: Path, precision: str) -> dict[str, Path]:
    path = folder / "model.onnx"
    ir.save(graph, path)
    return {path.name: path}


def _write_openvino(graph: ir.Model, folder: Path, precision: str) -> dict[str, Path]:
    import openvino

    onnx_path = folder / "exported.onnx"
    ir.save(graph, onnx_path)
    path = folder / "model.xml"
    openvino.save_model(
        openvino.convert_model(onnx_path), path, compress_to_fp16=precision == "fp16"
    )
    return {path.name: path, "model.bin": path.with_suffix(".bin")}


WRITERS: dict[str, Callable[[ir.Model, Path, str], dict[str, Path]]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "tensorrt": _write_onnx,
    "qnn": _write_onnx,
}


def _logit_proof(
    model: QuantResNet,
    checkpoint: Checkpoint,
    precision: str,
    options: ExportOptions,
    data: str | None,
) -> LogitProof:
    golden = golden_images(checkpoint, options.golden_images, data)
    spec = checkpoint.input_spec
    return LogitProof(
        model,
        spec,
        precision,
        options.embed_preprocess,
        proof_images(checkpoint, data),
        golden,
        reference_logits(model, golden, spec, precision),
    )


def _prove(
    graph: ir.Model,
    model_path: Path,
    target: str,
    precision: str,
    wanted: LogitProof,
) -> dict[str, Any]:
    """Compare with PyTorch, and look the layers up in the runtime's executed graph."""
    prover = prover_of(target)
    run_options = RunOptions(precision=float_precision(precision), as_written=prover != target)
    expected = expected_layers(graph) if is_quantized(precision) else {}
    runtime = target_of(prover)
    kernels: list[Kernel] | None = None
    with runtime.load(model_path, runtime.default_device, run_options) as session:
        proof = wanted.prove(session, prover)
        if expected and prover == target:
            kernels = session.kernels()
    if expected and target == "tensorrt":
        kernels = tensorrt_kernels(model_path, expected)
    if kernels is not None:
        proof["integer_kernels"] = prove_integer(expected, kernels, target)
    return proof


def _manifest(
    checkpoint: Checkpoint,
    target: str,
    precision: str,
    options: ExportOptions,
    model_name: str,
    proof: dict[str, Any],
    model: QuantResNet,
    golden_spread: float,
) -> Manifest:
    layers = count_layers(model, checkpoint.input_spec.image_size)
    return Manifest(
        target=target,
        precision=precision,
        arch=checkpoint.arch,
        stem=checkpoint.stem,
        classes=checkpoint.classes,
        input_spec=checkpoint.input_spec,
        embed_preprocess=options.embed_preprocess,
        batch=options.batch,
        model=model_name,
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        # For an edgeresnet that knows no bound in logits.
        golden_tolerance=proof["logit_bound"] / golden_spread,
        data=checkpoint.data,
        proof=proof,
        provenance={
            "exported_with": versions(),
            "quantization": checkpoint.quantization if is_quantized(precision) else None,
            **checkpoint.provenance,
        },
        widths=checkpoint.widths.to_dict(),
        layers=tuple({**vars(layer), "precision": layer_precision(precision)} for layer in layers),
        logit_bound=proof["logit_bound"],
    )
