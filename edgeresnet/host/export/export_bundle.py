"""Checkpoint to bundle: export, encode, prove, write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx_ir as ir

from edgeresnet.closing import temporary_folder
from edgeresnet.device.bundle.build import build_ahead
from edgeresnet.device.bundle.bundle import Bundle, build_options
from edgeresnet.device.bundle.golden_runs import kernels_here
from edgeresnet.device.bundle.manifest import Manifest
from edgeresnet.device.bundle.signature import Signer
from edgeresnet.device.bundle.write_bundle import check_replaceable, write_bundle
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.targets.export_support import check_inputs, prover_of
from edgeresnet.device.targets.precision import (
    WIDE,
    float_precision,
    is_quantized,
    layer_precision,
)
from edgeresnet.device.targets.protocol import EngineKernels, Kernel, Target
from edgeresnet.device.targets.registry import example_of, target_of
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.encodings.encode import ENCODINGS
from edgeresnet.host.export.encodings.hexagon import mark_wide
from edgeresnet.host.export.encodings.preprocess import embed_preprocess
from edgeresnet.host.export.golden_choice import CANDIDATES, choose_golden
from edgeresnet.host.export.lint import check_canonical, check_pattern
from edgeresnet.host.export.logit_proof import LogitProof
from edgeresnet.host.export.precisions import check_precision
from edgeresnet.host.export.proof import expected_layers, prove_integer
from edgeresnet.host.export.proof_images import NOISE, golden_images, proof_images
from edgeresnet.host.export.saturation import without_saturation
from edgeresnet.host.export.writers import WRITERS
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import count_layers
from edgeresnet.host.models.sparsity_2_4 import PATTERN, is_sparse
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    context: TaskContext = TaskContext(),
    sign: Signer | None = None,
    saturating: bool | None = None,
) -> Bundle:
    """Export, prove and write one bundle.

    Args:
        checkpoint: float for float precisions; fake-quantized for quantized ones.
        target: its name.
        precision: one of the target's, see `TargetSpec.precisions`.
        out_dir: the bundle's folder; replaced only when all has succeeded.
        options: batch sizes, embedded preprocessing, golden images.
        context: its data give the proof's images (training split) and the golden ones (validation
            split); None: what the checkpoint was calibrated or trained on, else noise.
        sign: makes the signature of a signed bundle.
        saturating: 8-bit products saturate where the bundle is to run, if its target's kernels are
            such: weights then have 7 bits wherever a sum could; None: if they do on this machine.

    Raises:
        InputError: the precision does not fit checkpoint or target, or the bundle would be right
            elsewhere only, and so cannot be proven here.
        MissingError: the runtime is not installed.
        CheckError: logits or kernels are not what they must be.
    """
    options = options or ExportOptions()
    check_replaceable(out_dir)
    check_precision(checkpoint, target, precision)
    check_inputs(target, options.batch, embed_preprocess=options.embed_preprocess)
    context.on_step(f"exporting {checkpoint.arch} {precision} for {target}")
    model = folded(checkpoint)
    if target_of(target).spec.float_layers_in == WIDE:
        model.in_sixteen_bits()
    saturation = None
    if target_of(target).spec.saturates and is_quantized(precision):
        saturation = without_saturation(model, checkpoint, context, saturating)
    job = Job(checkpoint, model, target_of(target), precision, options, context, sign, saturation)
    with temporary_folder() as folder:
        graph, files = write_model(
            job.model, checkpoint.input_spec, target, precision, Path(folder), options
        )
        return _proven_bundle(job, graph, files, out_dir)


@dataclass(frozen=True, eq=False)
class Job:
    """What is exported, and how.

    Attributes:
        model: the checkpoint's network, folded, in eval mode; its weights as they are exported.
        saturation: for the manifest; None where no products can saturate.
    """

    checkpoint: Checkpoint
    model: QuantResNet
    target: Target
    precision: str
    options: ExportOptions
    context: TaskContext
    sign: Signer | None = None
    saturation: dict[str, Any] | None = None


def _proven_bundle(job: Job, graph: ir.Model, files: dict[str, Path], out_dir: Path) -> Bundle:
    """Build ahead where the target does, prove the written model, and write the bundle."""
    model_path = next(iter(files.values()))
    if job.target.spec.builds_ahead:
        build = build_options(
            job.checkpoint.input_spec,
            job.options.batch,
            pixels=job.options.embed_preprocess,
            sparse=is_sparse(job.checkpoint),
        )
        files |= build_ahead(job.target, model_path, build, job.context.on_step)
    job.context.on_step("proving logits and kernels")
    wanted = _logit_proof(job)
    if wanted.images.origin == NOISE:
        remembered = job.checkpoint.data
        missing = f"data {remembered} is not here" if remembered else "no data is given"
        job.context.on_step(f"{missing}: proving on noise")
    proof, golden, golden_from = _prove(job, graph, model_path, wanted)
    if is_sparse(job.checkpoint):
        proof |= {"pattern": PATTERN, "sparse_layers": check_pattern(graph)}
    manifest = replace(
        _manifest(job, model_path.name, proof, float(np.ptp(golden)) or 1.0),
        golden_from=golden_from,
        golden_detection=wanted.golden.detection(proof["logit_bound"], job.precision),
    )
    if (example := example_of(job.target.spec.name)) is not None:
        files[example.name] = example
    return write_bundle(
        out_dir, manifest, files, wanted.golden.images, golden, sign=job.sign,
        record_host=job.options.record_host,
    )  # fmt: skip


def write_model(
    model: QuantResNet,
    spec: InputSpec,
    target: str,
    precision: str,
    folder: Path,
    options: ExportOptions,
    device: str | None = None,
) -> tuple[ir.Model, dict[str, Path]]:
    """Write a folded network as the target's model, unproven.

    Args:
        model: folded, calibrated for a quantized precision.
        spec: image size, and what pixels are normalized with.
        target: its name.
        precision: one of the target's.
        folder: to write into.
        options: batch sizes, embedded preprocessing.
        device: that it is for; None: the target's usual one.

    Returns:
        The encoded graph, and each file by its name in a bundle; the first is the one to open.
    """
    quantized = is_quantized(precision)
    graph = canonical_graph(model, spec.image_size, options.batch, quantized=quantized)
    if quantized:
        check_canonical(graph, model.computed_in_float)
        mark_wide(graph, model.computed_wide)
    own = target_of(target).spec
    ENCODINGS[own.encoding(device or own.default_device)](graph, precision)
    if options.embed_preprocess:
        embed_preprocess(graph, spec, cast_first=own.casts_pixels_first)
    return graph, WRITERS[own.writer](graph, folder, precision)


def folded(checkpoint: Checkpoint) -> QuantResNet:
    """The network with batch normalization folded; unquantized ones get idle quantizers."""
    model = checkpoint.build()
    if not isinstance(model, QuantResNet):
        model = QuantResNet(cast(Any, model))
    model.fold()
    return model.eval()


def _logit_proof(job: Job) -> LogitProof:
    checkpoint, data = job.checkpoint, job.context.data
    spec, most = checkpoint.input_spec, job.options.golden_images
    drawn = golden_images(checkpoint, max(most, CANDIDATES), data)
    macs = sum(layer.macs for layer in count_layers(job.model, spec.image_size))
    job.context.on_step("choosing golden images by damaged networks")
    return LogitProof(
        job.model,
        spec,
        job.precision,
        job.options.embed_preprocess,
        proof_images(checkpoint, data),
        choose_golden(job.model, drawn, spec, job.precision, macs, most),
        job.options.batch,
    )


def _prove(
    job: Job, graph: ir.Model, model_path: Path, wanted: LogitProof
) -> tuple[dict[str, Any], NDArray[np.float32], str | None]:
    """Compare with PyTorch, and look the layers up in the runtime's executed graph.

    Returns:
        The proof, the golden logits, and whose they are: those of the target's own integer kernels
        where they come again, else PyTorch's and None.
    """
    target, precision, name = job.target, job.precision, job.target.spec.name
    prover = prover_of(name)
    run_options = RunOptions(precision=float_precision(precision), as_written=prover != name)
    expected = expected_layers(graph) if is_quantized(precision) else {}
    runtime = target_of(prover)
    kernels: list[Kernel] | None = None
    with runtime.load(model_path, runtime.spec.default_device, run_options) as session:
        answers = wanted.answers(session)
        proof = wanted.prove(session, prover, answers)
        golden, golden_from = wanted.golden.logits, None
        runs = wanted.prove_golden(session, prover, proof["logit_bound"])
        if prover == name and wanted.repeats(runs, proof["logit_bound"]):
            golden = runs.logits
            golden_from = kernels_here(name, runtime.spec.default_device, session)
        if expected and prover == name:
            kernels = session.kernels()
    if expected and isinstance(target, EngineKernels):
        kernels = target.engine_kernels(model_path, expected)
    if doubts := wanted.images.doubts(answers, job.checkpoint.classes):
        proof["doubts"] = doubts
        for doubt in doubts:
            job.context.on_step(doubt)
    if kernels is not None:
        floats = job.model.computed_in_float
        proof["integer_kernels"] = prove_integer(expected, kernels, name, floats)
    return proof, golden, golden_from


def _manifest(job: Job, model_name: str, proof: dict[str, Any], golden_spread: float) -> Manifest:
    checkpoint, precision = job.checkpoint, job.precision
    layers = count_layers(job.model, checkpoint.input_spec.image_size)
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
        golden_tolerance=proof["logit_bound"] / golden_spread,
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
            {**vars(one), "precision": _precision_of(one.name, job.model, precision)}
            for one in layers
        ),
        logit_bound=proof["logit_bound"],
        classes_known=checkpoint.classes_known,
        stride_in=checkpoint.stride_in,
        saturation=job.saturation,
    )


def _precision_of(layer: str, model: QuantResNet, precision: str) -> str:
    """Of a layer in a bundle of that precision."""
    if is_quantized(precision) and layer in model.float_layers:
        return float_precision(precision)
    if is_quantized(precision) and layer in model.wide_layers:
        return WIDE
    return layer_precision(precision)
