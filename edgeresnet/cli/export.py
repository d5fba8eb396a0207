"""The command export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgeresnet.cli.options import (
    INPUTS,
    NETWORK,
    Arch,
    ClassNames,
    ClassOrder,
    ImageSize,
    Limit,
    MaybeData,
    Quiet,
    Raw,
    RecordHost,
    SkipBroken,
    Strict,
)
from edgeresnet.cli.output import enforce, expanded, show, task_context
from edgeresnet.cli.settings_options import option_of, target_option, with_settings
from edgeresnet.run.folder import newest_checkpoint
from edgeresnet.settings.export import (
    DEFAULT_TARGET,
    BatchRange,
    ExportOptions,
    ExportSettings,
    features_of,
)
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.network import NetworkTold
from edgeresnet.settings.quantization import QuantizeOptions

if TYPE_CHECKING:
    from edgeresnet.device.bundle.bundle import Bundle

FULL_BITS = 8
PROOF_DATA = {"calibration": "the calibration data", "data": "its data", "noise": "noise"}

EXAMPLE = "edgeresnet export photos-int8.pt --target openvino --int8 -o bundle"


@with_settings
def export(
    inputs: Annotated[InputChanges, INPUTS],
    network: Annotated[NetworkTold, NETWORK],
    checkpoint: Annotated[
        Optional[str],
        typer.Argument(metavar="[CKPT]", help="Checkpoint; left out: the newest run's."),
    ] = None,
    target: Annotated[str, target_option("Target to make the bundle for")] = DEFAULT_TARGET,
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Bundle folder to write.", callback=expanded),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantize to INT8: integer kernels throughout.")
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision; with tensorrt also around --int8.")
    ] = False,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Precision bfloat16, on a device that computes in it.")
    ] = False,
    a16: Annotated[
        bool, typer.Option("--a16", help="16-bit activations with --int8 weights (qnn).")
    ] = False,
    batch: Annotated[str, option_of(ExportSettings, "batch")] = "1",
    embed_preprocess: Annotated[bool, option_of(ExportSettings, "embed_preprocess")] = False,
    features: Annotated[
        Optional[str],
        option_of(ExportOptions, "features"),
    ] = None,
    logits: Annotated[bool, option_of(ExportOptions, "logits")] = True,
    sign: Annotated[
        Optional[Path],
        typer.Option(
            "--sign",
            metavar="KEY",
            help="Private key (Ed25519, PEM or OpenSSH) to sign the bundle with.",
            callback=expanded,
        ),
    ] = None,
    for_device: Annotated[
        Optional[str],
        typer.Option(
            "--for-device",
            metavar="FILE|any",
            help="Processor to make INT8 for, as devices --json FILE describes it there; any is "
            "right on every one; left out: this machine's. Where 8-bit products saturate, weights "
            "have 7 bits.",
        ),
    ] = None,
    data: MaybeData = None,
    calibration_images: Annotated[
        Optional[int],
        option_of(QuantizeOptions, "calibration_images", phase="calibrating a float CKPT"),
    ] = None,
    arch: Arch = None,
    image_size: ImageSize = None,
    raw: Raw = False,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    class_order: ClassOrder = None,
    classes: ClassNames = None,
    strict: Strict = False,
    record_host: RecordHost = False,
    quiet: Quiet = False,
) -> None:
    """Write a bundle, and prove it: logits against PyTorch, kernels in the runtime's own graph."""
    from edgeresnet.device.targets.export_support import (
        check_export,
        check_outputs,
        precision_of_options,
    )

    flags = {"int8": int8, "fp16": fp16, "bf16": bf16, "a16": a16}
    precision = precision_of_options(target, [name for name, given in flags.items() if given])
    options = ExportOptions(
        batch=BatchRange.parse(batch), embed_preprocess=embed_preprocess, record_host=record_host,
        features=() if features is None else features_of(features), logits=logits,
    )  # fmt: skip
    check_outputs(options)
    from edgeresnet.api.export import export as export_model
    from edgeresnet.report.saturation import saturation_line

    check_export(target, precision, options.batch, embed_preprocess=embed_preprocess)
    source = checkpoint or str(newest_checkpoint(precision))
    out_dir = output or Path(f"{Path(source).stem.replace(':', '-')}-{target}-{precision}")
    bundle = export_model(
        source, out_dir, target=target, precision=precision, options=options,
        calibration_images=calibration_images, arch=arch, image_size=image_size, inputs=inputs,
        raw=raw, network=network, sign=sign, for_device=for_device,
        context=task_context(
            data=data, limit=limit, skip_broken=skip_broken, quiet=quiet,
            class_order=class_order, classes=classes,
        ),
    )  # fmt: skip
    proof = bundle.manifest.proof
    told = saturation_line(bundle.manifest.saturation)
    told += [] if quiet else _size_lines(bundle)
    show(*_proven(proof), *told, str(bundle.path), quiet=quiet, json=None)
    enforce({"budgets": [], "strict": strict, "doubts": proof.get("doubts", ())})


def _size_lines(bundle: Bundle) -> list[str]:
    """What its weights of few bits take; nothing of a bundle of more bits, or of floats."""
    from edgeresnet.files.sizes import compressed_bytes
    from edgeresnet.report.size import size_line

    manifest = bundle.manifest
    bits = (manifest.provenance.get("quantization") or {}).get("weight_bits", FULL_BITS)
    if bits >= FULL_BITS:
        return []
    # An engine lies in a folder of its own.
    stem = Path(manifest.model).stem
    paths = [bundle.path / name for name in manifest.files if name.partition(".")[0] == stem]
    plain = sum(path.stat().st_size for path in paths)
    return [size_line(bits, plain, sum(map(compressed_bytes, paths)))]


def _proven(proof: Mapping[str, Any]) -> list[str]:
    """What the export has shown of its bundle."""
    kernels = ", ".join(f"{n} {op}" for op, n in proof.get("integer_kernels", {}).items())
    images = f"on {proof['images']} images of {PROOF_DATA[proof['data']]}"
    lines = [
        f"{name} within {one['largest_difference']:.2g} of PyTorch's {images} "
        f"({one['share_outside']:.2%} outside of the bounds, {one['bound']:.2g} in the mean)"
        for name, one in proof.get("outputs", {}).items()
    ]
    if "logit_bound" in proof:
        lines.insert(
            0,
            f"logits within {proof['largest_difference']:.2g} of PyTorch's {images} "
            f"(bound {proof['logit_bound']:.2g})",
        )
    lines[-1] += f"{'; in integer kernels: ' if kernels else ''}{kernels}"
    return lines
