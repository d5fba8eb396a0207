"""The audit of a run's bundles: by themselves, and against the checkpoint that they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.api.opening import open_model
from edgeresnet.api.verify import Asked, verify_bundle
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.machine.privacy import shareable
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.results.audit import BROKEN, NOT_CHECKED, Claim, ClaimsOf

if TYPE_CHECKING:
    from edgeresnet.device.bundle.bundle import Bundle
    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.host.models.checkpoint import Checkpoint
    from edgeresnet.run.recorded import DataAtHand

# What the manifest has as the checkpoint has it.
OF_CHECKPOINT = ("arch", "stem", "stride_in", "classes", "classes_known", "data_fingerprint")
# What an export adds to a checkpoint's provenance.
OF_EXPORT = ("exported_with", "quantization", "made_on")


def bundle_claims(
    path: Path,
    name: str,
    checkpoint: Checkpoint | None,
    asked: Asked,
    data: DataAtHand,
    *,
    same_machine: bool,
) -> list[Claim]:
    """All claims of one of a run's bundles.

    Args:
        path: of the bundle.
        name: of it.
        checkpoint: that it is of; None: it cannot be read here.
        asked: how the bundle runs.
        data: of the run.
        same_machine: the run's results are of this processor and these versions.
    """
    try:
        claims = verify_bundle(path, asked, name)
    except InputError as error:
        broken = ClaimsOf(name)
        broken.judge("manifest", error.cause, "")
        return broken.claims
    own = ClaimsOf(name)
    if checkpoint is None:
        own.unchecked("checkpoint", "it cannot be read here")
        return [*claims, *own.claims]
    if any(one.name == "files" and one.outcome == BROKEN for one in claims):
        return claims
    bundle = load_bundle(path)
    held = f"{checkpoint.arch}, its widths, classes, inputs and provenance are those of the bundle"
    own.judge("checkpoint", checkpoint_faults(bundle.manifest, checkpoint), held)
    runs = not any(one.outcome in (BROKEN, NOT_CHECKED) for one in claims if one.name == "input")
    if not runs:
        own.unchecked("proof", "the bundle does not run here")
        return [*claims, *own.claims]
    _proof_claims(own, bundle, checkpoint, asked, data, same_machine=same_machine)
    return [*claims, *own.claims]


def checkpoint_faults(manifest: Manifest, checkpoint: Checkpoint) -> list[str]:
    """Where a manifest says another thing than the checkpoint that it was exported from."""
    faults = [
        f"{key} is {getattr(manifest, key)!r:.60}, and {getattr(checkpoint, key)!r:.60} there"
        for key in OF_CHECKPOINT
        if getattr(manifest, key) != getattr(checkpoint, key)
    ]
    if manifest.input_spec != checkpoint.input_spec:
        faults.append("its images are made otherwise than the checkpoint's")
    if manifest.widths != _plain(checkpoint.widths.to_dict()):
        faults.append("its widths are not the checkpoint's")
    told = {key: value for key, value in manifest.provenance.items() if key not in OF_EXPORT}
    own = _plain(shareable(checkpoint.provenance))
    faults += [
        f"provenance has another {key}"
        for key in sorted(told.keys() | own.keys())
        if told.get(key) != own.get(key) and key not in ("source", "weights")
    ]
    quantized = manifest.provenance.get("quantization")
    if quantized is not None and quantized != _plain(shareable(checkpoint.quantization or {})):
        faults.append("provenance has another quantization")
    return faults


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As it is written and read."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _proof_claims(
    claims: ClaimsOf,
    bundle: Bundle,
    checkpoint: Checkpoint,
    asked: Asked,
    data: DataAtHand,
    *,
    same_machine: bool,
) -> None:
    """The export's proof, made again."""
    from edgeresnet.host.export.proof_again import (
        proof_faults,
        prove_again,
        saturation_faults,
    )

    manifest = bundle.manifest
    try:
        with open_model(bundle.path, device=asked.device, options=asked.options) as opened:
            again = prove_again(checkpoint, bundle, opened.session, data.spec)
    except (InputError, MissingError, CheckError) as error:
        claims.unchecked("proof", error.cause)
        return
    count = again.travelled.images
    held = f"{count} images, golden and slightly changed, are answered as by PyTorch"
    claims.judge("answers", again.travelled.faults(), held)
    if again.proven is None:
        claims.unchecked("proof", data.why or "the images of the proof are not at hand")
    else:
        found = again.proven
        held = f"{found.images} images, largest difference {found.largest_difference:.3g}"
        if manifest.outputs:
            held += f", of {', '.join(manifest.output_names)}"
        claims.judge("proof", proof_faults(manifest, found, same_machine=same_machine), held)
    if manifest.saturation is None:
        return
    if again.saturation is None or data.spec is None:
        claims.unchecked("saturation", data.why or "no product of its target's saturates")
    else:
        held = f"{len(again.saturation['narrowed'])} layers have weights of 7 bits"
        claims.judge("saturation", saturation_faults(manifest.saturation, again.saturation), held)
