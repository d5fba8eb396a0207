"""What a manifest says of its network, held against itself and against the model file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.bundle.bundle import input_shape
from edgeresnet.device.targets.classifier import PIXELS
from edgeresnet.device.targets.protocol import LARGEST_BATCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.targets.protocol import Session

# Of two numbers that were one before they were written and read.
SAME = 1e-6
COUNTED = ("out_channels", "macs", "parameters")
# What an export adds before the network.
PREPROCESS = "preprocess."


def manifest_faults(manifest: Manifest, golden: NDArray[np.float32]) -> list[str]:
    """What of a manifest cannot be at once.

    Args:
        manifest: of a bundle.
        golden: (n, classes) its golden logits.
    """
    faults = [*_sums(manifest), *_widths(manifest), *_depth(manifest)]
    bound, proof = manifest.logit_bound, manifest.proof
    if bound is not None:
        spread = float(np.ptp(golden)) or 1.0
        if not math.isclose(manifest.golden_tolerance, bound / spread, rel_tol=1e-4):
            faults.append(
                f"golden_tolerance is {manifest.golden_tolerance:.4g}, and logit_bound is "
                f"{bound / spread:.4g} of the golden logits' range"
            )
        told = proof.get("logit_bound")
        if told is not None and not (_is_number(told) and math.isclose(told, bound, rel_tol=SAME)):
            faults.append(f"logit_bound is {bound:.4g}, and the proof's {told!r:.40}")
    return [*faults, *_proof(manifest), *_detection(manifest)]


def _sums(manifest: Manifest) -> Iterator[str]:
    for key in ("macs", "parameters"):
        values = [layer.get(key) for layer in manifest.layers]
        known = [int(value) for value in values if value is not None]
        if values and len(known) == len(values) and sum(known) != getattr(manifest, key):
            yield f"{key} is {getattr(manifest, key):,}, and those of the layers are {sum(known):,}"


def _widths(manifest: Manifest) -> Iterator[str]:
    """Channels of the layers, as ``widths`` has them."""
    channels = {layer["name"]: layer["out_channels"] for layer in manifest.layers}
    try:
        told = list(_told_widths(manifest.widths))
    except (KeyError, TypeError, ValueError):
        # What a stranger wrote may have any shape.
        yield "its widths are not those of a ResNet"
        return
    for name, width in told:
        if name in channels and channels[name] != width:
            yield f"{name} has {channels[name]} channels, and by the widths {width}"


def _told_widths(widths: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if not widths:
        return
    yield "conv1", widths["stem"]
    for level, (blocks, stream) in enumerate(
        zip(widths["inner"], widths["streams"], strict=True), start=1
    ):
        for block, inner in enumerate(blocks):
            for place, width in enumerate((*inner, stream), start=1):
                yield f"layer{level}.{block}.conv{place}", width


def _depth(manifest: Manifest) -> Iterator[str]:
    """The number in an architecture's name is that of its layers (He et al., 2016, table 1)."""
    told = re.search(r"resne(?:x)?t(\d+)", manifest.arch)
    inside = [one for one in manifest.layers if re.search(r"^layer.*\.conv\d+$", one["name"])]
    # Pruning may remove whole blocks, and features may need no deeper ones.
    cut = not manifest.logits and not {"C5", "pool"} & set(manifest.output_names)
    if cut:
        return
    fewer = bool(manifest.provenance.get("pruning")) and told and len(inside) + 2 < int(told[1])
    if told and inside and not fewer and len(inside) + 2 != int(told[1]):
        yield f"{manifest.arch} has {told[1]} layers, and the manifest lists {len(inside) + 2}"


def _proof(manifest: Manifest) -> Iterator[str]:
    """The proof's numbers among each other."""
    proof = manifest.proof
    keys = ("largest_difference", "share_outside", "logit_bound")
    if not all(_is_number(proof.get(key)) for key in keys):
        return
    largest, outside, bound = (float(proof[key]) for key in keys)
    if (largest > bound) != (outside > 0):
        yield (
            f"the proof has {outside:.2%} of the logits outside of {bound:.3g}, and the largest "
            f"difference {largest:.3g}"
        )


def _detection(manifest: Manifest) -> Iterator[str]:
    found = manifest.golden_detection
    if found and not found["caught"] <= found["caught_there"] <= found["mutants"]:
        yield (
            f"golden_detection has {found['caught']} and {found['caught_there']} caught of "
            f"{found['mutants']} mutants"
        )


def network_faults(manifest: Manifest, described: Mapping[str, Any]) -> list[str]:
    """Layers and sizes that the model file has otherwise than its manifest.

    Args:
        manifest: of the bundle.
        described: of `edgeresnet.device.targets.model_files.describe_model`.
    """
    there = {
        layer["name"]: layer
        for layer in described["layers"]
        if not layer["name"].startswith(PREPROCESS)
    }
    told = {layer["name"]: layer for layer in manifest.layers}
    faults = [f"{name} is not in the model file" for name in told if name not in there]
    faults += [f"{name} is in the model file, and not listed" for name in there if name not in told]
    for name in told.keys() & there.keys():
        for key in COUNTED:
            one, other = told[name].get(key), there[name].get(key)
            if None not in (one, other) and one != other:
                faults.append(f"{name} has {key} {other:,}, and the manifest says {one:,}")
    if manifest.layers and len(faults) > len(told):
        faults = [f"it has {len(there)} layers, and none of those that the manifest lists"]
    return sorted(faults)


def input_faults(manifest: Manifest, session: Session, outputs: int) -> list[str]:
    """Where a loaded model's input, batches and outputs are not those that its manifest says.

    Args:
        manifest: of the bundle.
        session: the model.
        outputs: values that a run answers an image with.
    """
    faults = []
    shape = tuple(session.input_shape)
    pixels = session.input_dtype == PIXELS
    if pixels != manifest.embed_preprocess:
        faults.append(
            f"its input is {session.input_dtype}, and the manifest has embed_preprocess "
            f"{str(manifest.embed_preprocess).lower()}"
        )
    wanted = input_shape(manifest.input_spec, pixels=pixels or bool(manifest.channels_last))
    if shape != wanted:
        faults.append(f"its input is {_by(shape)}, and by the manifest {_by(wanted)}")
    if outputs != manifest.answer_size:
        wanted_outputs = f"{manifest.answer_size} {'classes' if manifest.logits else 'values'}"
        faults.append(f"it has {outputs} outputs, and the manifest {wanted_outputs}")
    low, high = session.batch_sizes
    if not (low <= manifest.batch.smallest and manifest.batch.largest <= high):
        open_top = high >= LARGEST_BATCH
        faults.append(
            f"it takes batches of {low} to {'any number' if open_top else high}, and by the "
            f"manifest {manifest.batch.smallest} to {manifest.batch.largest}"
        )
    return faults


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
