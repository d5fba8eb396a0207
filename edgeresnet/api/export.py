"""Exports a checkpoint as a proven bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from edgeresnet.api.data import on_foreign, with_data
from edgeresnet.api.opening import load_checkpoint
from edgeresnet.api.saving import EXPORTED, TEMPORARY, check_room_for
from edgeresnet.device.bundle.signature import signer_of
from edgeresnet.device.bundle.write_bundle import check_replaceable
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.machine.saturation import saturates_on
from edgeresnet.device.targets.export_support import check_export, may_saturate
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.errors import InputError
from edgeresnet.files.locks import one_writer
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold
from edgeresnet.settings.quantization import QuantizeOptions

if TYPE_CHECKING:
    from edgeresnet.device.bundle.bundle import Bundle
    from edgeresnet.host.models.checkpoint import Checkpoint


@one_writer("output")
def export(
    source: str | Path,
    output: str | Path,
    *,
    target: str,
    precision: str,
    options: ExportOptions | None = None,
    calibration_images: int | None = None,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    sign: str | Path | None = None,
    for_device: str | Path | None = None,
    context: TaskContext | None = None,
) -> Bundle:
    """Write a bundle, and prove it: logits against PyTorch, kernels in the runtime's own graph.

    Args:
        source: checkpoint of any origin. A float one is calibrated first where ``precision`` is a
            quantized one.
        output: bundle folder; replaced only when all has succeeded.
        target: what the bundle is for.
        precision: of the whole model, one that the target has.
        options: batch sizes, embedded preprocessing, golden images.
        calibration_images: images that a float checkpoint is calibrated on; None: the usual number.
        arch: of ``torchvision:WEIGHTS``; refused where the source says it.
        image_size: of a foreign checkpoint; of our own it overrides.
        inputs: what is told of its preprocessing, over what it says itself.
        raw: take a foreign checkpoint's weights themselves, not their moving average beside them.
        network: what is told of a foreign checkpoint's stem and strides.
        sign: private key (Ed25519) to sign the bundle with.
        for_device: whose 8-bit products decide about 7-bit weights: a file that ``devices --json``
            wrote there, or ``any``; None: this machine.
        context: data of calibration and proof (else what the checkpoint remembers); reporting.

    Raises:
        InputError: target, precision, options and checkpoint do not go together.
        MissingError: the runtime that proves the export, or what signs, is not installed.
        CheckError: logits or kernels are not what they must be; no bundle is written.
    """
    options, context = options or ExportOptions(), context or TaskContext()
    check_export(target, precision, options.batch, embed_preprocess=options.embed_preprocess)
    _check_places(Path(output), source, context.data)
    saturating = _saturating(for_device, target, precision)
    signer = None if sign is None else signer_of(Path(sign))
    from edgeresnet.host.export.export_bundle import export_bundle
    from edgeresnet.host.training.splits import with_class_names

    checkpoint = load_checkpoint(
        source, arch=arch, image_size=image_size, inputs=inputs, raw=raw, network=network,
        on_step=on_foreign(context),
    )  # fmt: skip
    checkpoint = with_class_names(checkpoint, context)
    context = replace(context, class_order=None, classes_path=None)
    if is_quantized(precision) and checkpoint.precision == "fp32":
        known = with_data(context, checkpoint, str(source))
        checkpoint = _calibrated(checkpoint, calibration_images, known)
    elif calibration_images is not None:
        raise _without_calibration(calibration_images, source, checkpoint.precision, precision)
    return export_bundle(
        checkpoint, target=target, precision=precision, out_dir=Path(output), options=options,
        context=context, sign=signer, saturating=saturating,
    )  # fmt: skip


def _saturating(for_device: str | Path | None, target: str, precision: str) -> bool:
    """Whether 8-bit products saturate where a bundle is to run."""
    saturates = may_saturate(target, precision)
    if for_device is not None and not saturates:
        raise InputError(
            f"--for-device {for_device} would have no effect: {precision} on target {target} has "
            "no 8-bit products that saturate",
            "leave it out.",
        )
    return saturates and saturates_on(for_device)


def _check_places(output: Path, source: str | Path, data: str | None) -> None:
    """Refuse, before the work, where no bundle can be, no room for it, and no data where told."""
    check_replaceable(output)
    check_room_for(output, source, EXPORTED)
    check_room_for(Path(gettempdir()), source, TEMPORARY, "TMPDIR")
    if data is not None:
        open_dataset(data, "val", limit=1, unlabelled=True)


def _without_calibration(images: int, source: str | Path, has: str, precision: str) -> InputError:
    return InputError(
        f"--calibration-images {images} would have no effect: {source} is {has} and exported in "
        f"{precision}",
        "leave it out; a float checkpoint is calibrated for --int8.",
    )


def _calibrated(checkpoint: Checkpoint, images: int | None, context: TaskContext) -> Checkpoint:
    from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint

    options = QuantizeOptions(method="ptq", calibration_images=images)
    quantized, _ = quantize_checkpoint(checkpoint, options, context=context)
    return quantized
