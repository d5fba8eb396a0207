"""Checkpoint to bundle: export, encode, prove, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx_ir as ir

from edgeresnet.closing import temporary_folder
from edgeresnet.device.bundle.build import build_ahead
from edgeresnet.device.bundle.bundle import Bundle, build_options
from edgeresnet.device.bundle.golden_runs import kernels_here
from edgeresnet.device.bundle.signature import Signer
from edgeresnet.device.bundle.write_bundle import check_replaceable, write_bundle
from edgeresnet.device.targets.export_support import check_inputs, check_outputs, prover_of
from edgeresnet.device.targets.precision import WIDE, float_precision, is_quantized
from edgeresnet.device.targets.protocol import EXAMPLE, EngineKernels, Kernel
from edgeresnet.device.targets.registry import example_of, target_of
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.encodings.encode import ENCODINGS
from edgeresnet.host.export.encodings.hexagon import mark_wide
from edgeresnet.host.export.encodings.preprocess import embed_preprocess
from edgeresnet.host.export.export_manifest import Job, manifest_of
from edgeresnet.host.export.golden_choice import CANDIDATES, choose_golden
from edgeresnet.host.export.lint import check_canonical, check_pattern
from edgeresnet.host.export.logit_proof import LogitProof
from edgeresnet.host.export.output_proof import OutputProof, Proven
from edgeresnet.host.export.precisions import check_precision
from edgeresnet.host.export.proof import expected_layers, prove_integer
from edgeresnet.host.export.proof_images import NOISE, golden_images, proof_images
from edgeresnet.host.export.saturation import without_saturation
from edgeresnet.host.export.tap_features import tap_features
from edgeresnet.host.export.writers import WRITERS
from edgeresnet.host.models.headless import floats_in_graph, options_of_headless
from edgeresnet.host.models.layer_counts import count_layers
from edgeresnet.host.models.level_outputs import outputs_of
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.sparsity_2_4 import PATTERN, is_sparse
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.progress import TaskContext
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
    check_outputs(options)
    context.on_step(f"exporting {checkpoint.arch} {precision} for {target}")
    model = folded(checkpoint)
    options = options_of_headless(model, options)
    if not checkpoint.classes:
        context.on_step(f"no classifier: the bundle gives {', '.join(options.features)}")
    if target_of(target).spec.float_layers_in == WIDE:
        model.in_sixteen_bits()
    saturation = None
    if target_of(target).spec.saturates and is_quantized(precision):
        saturation = without_saturation(model, checkpoint, context, saturating)
    size = checkpoint.input_spec.image_size
    outputs = outputs_of(model, size, options.features, logits=options.logits)
    job = Job(
        checkpoint, model, target_of(target), precision, options, context, sign, saturation, outputs
    )  # fmt: skip
    with temporary_folder() as folder:
        graph, files = write_model(
            job.model, checkpoint.input_spec, target, precision, Path(folder), options
        )
        return _proven_bundle(job, graph, files, out_dir)


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
    proven = _prove(job, graph, model_path, wanted)
    proof, golden = proven.proof, proven.logits
    if is_sparse(job.checkpoint):
        proof |= {"pattern": PATTERN, "sparse_layers": check_pattern(graph)}
    detected = None
    if (bound := proof.get("logit_bound")) is not None:
        detected = wanted.golden.detection(bound, job.precision)
    spread = (float(np.ptp(golden)) if golden.size else 0.0) or 1.0
    manifest = replace(
        manifest_of(job, graph, model_path.name, proof, spread),
        golden_from=proven.golden_from,
        golden_detection=detected,
    )
    example = example_of(job.target.spec.name, features=bool(job.outputs))
    if example is not None:
        files[EXAMPLE] = example
    return write_bundle(
        out_dir, manifest, files, wanted.golden.images, golden, sign=job.sign,
        record_host=job.options.record_host, golden_features=proven.features,
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
        options: batch sizes, embedded preprocessing, features.
        device: that it is for; None: the target's usual one.

    Returns:
        The encoded graph, and each file by its name in a bundle; the first is the one to open.
    """
    quantized = is_quantized(precision)
    options = options_of_headless(model, options)
    graph = canonical_graph(model, spec.image_size, options.batch, quantized=quantized)
    if quantized:
        check_canonical(graph, floats_in_graph(model))
        mark_wide(graph, model.computed_wide)
    tap_features(graph, outputs_of(model, spec.image_size, options.features, logits=options.logits))
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


def _prove(job: Job, graph: ir.Model, model_path: Path, wanted: LogitProof) -> Proven:
    """Compare with PyTorch, and look the layers up in the runtime's executed graph.

    Golden logits and features are those of the target's own integer kernels where they come again,
    else PyTorch's.
    """
    target, precision, name = job.target, job.precision, job.target.spec.name
    prover = prover_of(name)
    run_options = RunOptions(
        precision=float_precision(precision),
        as_written=prover != name,
        outputs=tuple(one.name for one in job.outputs),
    )
    expected = expected_layers(graph) if is_quantized(precision) else {}
    runtime = target_of(prover)
    kernels: list[Kernel] | None = None
    with runtime.load(model_path, runtime.spec.default_device, run_options) as session:
        proven = OutputProof(wanted, job.outputs).prove(session, prover, own=prover == name)
        if proven.golden_from is not None:
            here = kernels_here(name, runtime.spec.default_device, session)
            proven = replace(proven, golden_from=here)
        if expected and prover == name:
            kernels = session.kernels()
    if expected and isinstance(target, EngineKernels):
        kernels = target.engine_kernels(model_path, expected)
    proof = proven.proof
    classes = job.checkpoint.classes
    if proven.answers.size and (doubts := wanted.images.doubts(proven.answers, classes)):
        proof["doubts"] = doubts
        for doubt in doubts:
            job.context.on_step(doubt)
    if kernels is not None:
        floats = job.model.computed_in_float
        proof["integer_kernels"] = prove_integer(expected, kernels, name, floats)
    return proven
