"""Checkpoint to bundle: export, encode, prove, write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx_ir as ir
import torch

from edgeresnet.bundle import Bundle, build_options, check_replaceable, write_bundle
from edgeresnet.dataset import batches, normalize, open_dataset
from edgeresnet.device import versions
from edgeresnet.errors import CheckError, InputError
from edgeresnet.export.ahead import build_ahead
from edgeresnet.export.canonical import canonical_graph
from edgeresnet.export.encodings import ENCODINGS
from edgeresnet.export.lint import check_canonical, check_pattern
from edgeresnet.export.precisions import check_precision
from edgeresnet.export.preprocess import embed_preprocess
from edgeresnet.export.proof import expected_layers, prove_integer, tensorrt_kernels
from edgeresnet.golden import relative_difference
from edgeresnet.manifest import BatchRange, Manifest
from edgeresnet.model import count_layers
from edgeresnet.padding import run_padded
from edgeresnet.precision import float_precision, is_quantized, layer_precision
from edgeresnet.quantize.modules import QuantResNet
from edgeresnet.sparsity import PATTERN, is_sparse
from edgeresnet.targets import target_of
from edgeresnet.targets.export_support import check_inputs, prover_of
from edgeresnet.targets.protocol import Kernel, RunOptions
from edgeresnet.torch_threads import within_quota

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.checkpoint import Checkpoint
    from edgeresnet.dataset import InputSpec

# Largest logit difference from PyTorch, as a share of the logits' range. Integer kernels round
# where fake quantization does, but on uint8's finer grid behind each ReLU.
TOLERANCES = {
    "fp32": 1e-3,
    "fp16": 2e-2,
    "bf16": 5e-2,
    "int8": 1e-1,
    "int8+fp16": 1e-1,
    "w8a16": 1e-1,
}
ONE_IMAGE = BatchRange(1, 1, 1)


@dataclass(frozen=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        batch: sizes that the model takes.
        embed_preprocess: uint8 NHWC input, normalization in the graph.
        golden_images: how many inputs travel with their logits.
    """

    batch: BatchRange = ONE_IMAGE
    embed_preprocess: bool = False
    golden_images: int = 8


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
        data: DATA SPEC of the golden images; None: the one it was trained on, else noise.
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
        images = golden_images(checkpoint, options.golden_images, data)
        logits = _reference_logits(model, images, checkpoint, quantized=is_quantized(precision))
        proof = _prove(graph, model_path, target, precision, options, checkpoint, images, logits)
        if is_sparse(checkpoint):
            proof |= {"pattern": PATTERN, "sparse_layers": check_pattern(graph)}
        manifest = _manifest(checkpoint, target, precision, options, model_path.name, proof, model)
        return write_bundle(out_dir, manifest, files, images, logits)


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


def golden_images(checkpoint: Checkpoint, count: int, data: str | None) -> NDArray[np.uint8]:
    """A few images (n, H, W, 3) uint8 of the validation data; smooth noise if there is none."""
    size = checkpoint.input_spec.image_size
    source = data or checkpoint.data
    if source is not None:
        try:
            dataset = open_dataset(source, "val", limit=count)
        except InputError:
            # The data of the training machine need not be here; what was asked for must be.
            if data is not None:
                raise
        else:
            pixels, _ = next(iter(batches(dataset, checkpoint.input_spec, count, raw=True)))
            return cast("NDArray[np.uint8]", pixels)
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, -(-size // 8), -(-size // 8), 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :size, :size]


def _reference_logits(
    model: QuantResNet, images: NDArray[np.uint8], checkpoint: Checkpoint, *, quantized: bool
) -> NDArray[np.float32]:
    for quantizer in model.quantizers().values():
        quantizer.enabled = quantized
    with torch.inference_mode():
        logits: NDArray[np.float32] = model(
            torch.from_numpy(normalize(images, checkpoint.input_spec))
        ).numpy()
    return logits


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


def _prove(
    graph: ir.Model,
    model_path: Path,
    target: str,
    precision: str,
    options: ExportOptions,
    checkpoint: Checkpoint,
    images: NDArray[np.uint8],
    logits: NDArray[np.float32],
) -> dict[str, Any]:
    """Compare with PyTorch, and look the layers up in the runtime's executed graph."""
    inputs = images if options.embed_preprocess else normalize(images, checkpoint.input_spec)
    prover = prover_of(target)
    run_options = RunOptions(precision=float_precision(precision), as_written=prover != target)
    expected = expected_layers(graph) if is_quantized(precision) else {}
    runtime = target_of(prover)
    kernels: list[Kernel] | None = None
    with runtime.load(model_path, runtime.default_device, run_options) as session:
        difference = relative_difference(run_padded(session, inputs), logits)
        if expected and prover == target:
            kernels = session.kernels()
    if difference > TOLERANCES[precision]:
        raise CheckError(
            f"{prover} gives logits {difference:.4f} of their range away from PyTorch's; "
            f"{TOLERANCES[precision]} is allowed",
            "if it was quantized with --weight-bits 8 and this processor has no VNNI, give 7; "
            "else calibrate on more images of the real data, or train with --method qat.",
        )
    proof: dict[str, Any] = {
        "logit_difference": difference,
        "images": len(images),
        "logits_from": prover,
    }
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
        golden_tolerance=TOLERANCES[precision],
        data=checkpoint.data,
        proof=proof,
        provenance={
            "exported_with": versions(),
            "quantization": checkpoint.quantization if is_quantized(precision) else None,
            **checkpoint.provenance,
        },
        widths=checkpoint.widths.to_dict(),
        layers=tuple({**vars(layer), "precision": layer_precision(precision)} for layer in layers),
    )
