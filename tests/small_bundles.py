"""Whole bundles around a network of one convolution, made in a moment and without PyTorch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edgeresnet.device.bundle.manifest import Manifest
from edgeresnet.device.bundle.signature import Signer
from edgeresnet.device.bundle.write_bundle import write_bundle
from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.targets.registry import target_of
from edgeresnet.settings.export import ONE_IMAGE
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.small_models import write_onnx, write_openvino

SIZE, CLASSES, IMAGES = 16, 10, 4


def write_small_bundle(path: Path, target: str = "onnx", sign: Signer | None = None) -> Path:
    """A bundle of `tests.small_models`, whose golden logits are its own runtime's.

    Args:
        path: to write.
        target: ``onnx`` or ``openvino``.
        sign: makes its signature.
    """
    spec = InputSpec(SIZE)
    with tempfile.TemporaryDirectory() as place:
        model = write_onnx(Path(place) / "model.onnx", classes=CLASSES, shape=(1, 3, SIZE, SIZE))
        files = {model.name: model}
        if target == "openvino":
            model = write_openvino(model)
            files = {name.name: name for name in (model, model.with_suffix(".bin"))}
        pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
        with target_of(target).load(model, "cpu", RunOptions(precision="fp32")) as session:
            inputs = to_input(pixels, spec, raw=False, channels_last=False)
            logits = np.concatenate([session.run(inputs[i : i + 1]) for i in range(IMAGES)])
        write_bundle(path, _manifest(target, model.name, spec), files, pixels, logits, sign)
    return path


def _manifest(target: str, model: str, spec: InputSpec) -> Manifest:
    layer = {
        "name": "conv1", "op": "Conv", "out_channels": CLASSES, "macs": 69120, "parameters": 280,
        "precision": "fp32",
    }  # fmt: skip
    return Manifest(
        target=target,
        precision="fp32",
        arch="resnet18",
        stem="small",
        classes=tuple(map(str, range(CLASSES))),
        input_spec=spec,
        embed_preprocess=False,
        batch=ONE_IMAGE,
        model=model,
        parameters=280,
        macs=69120,
        golden_tolerance=0.001,
        data="digits",
        proof={"logit_bound": 0.001, "images": IMAGES},
        provenance={},
        widths={},
        layers=(layer,),
        logit_bound=0.001,
    )
