"""A target that nobody else has heard of: one file, with ONNX's reference evaluator as its runtime.

What an author of a real target writes is the same: a `TargetSpec`, a session, and the methods of
`edgeresnet.device.targets.protocol.Target`. The line in the registry is in the tests that use it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgeresnet.closing import Closing
from edgeresnet.device.targets.engine_record import write_engine
from edgeresnet.device.targets.model_facts import ModelFacts
from edgeresnet.device.targets.protocol import (
    LARGEST_BATCH,
    Availability,
    Device,
    Kernel,
    LayerProfile,
    Missing,
    Session,
)
from edgeresnet.device.targets.spec import BareFiles, TargetSpec
from edgeresnet.errors import MissingError
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions

SLATE, SUFFIX = "slate", ".slate"
LINE = 'TARGETS["reference"] = ReferenceTarget()'


def describe(path: Path, image_size: int | None = None) -> ModelFacts:
    import onnx

    operators = [node.op_type for node in onnx.load(path).graph.node]
    return ModelFacts(None, None, operators, [], None)


class ReferenceSession(Closing):
    emulated = False
    input_dtype = "float32"

    def __init__(self, model_path: Path) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load(model_path)
        images, logits = model.graph.input[0], model.graph.output[0]
        batch, *sides = (side.dim_value for side in images.type.tensor_type.shape.dim)
        self.batch_sizes = (batch, batch) if batch else (1, LARGEST_BATCH)
        self.input_shape = (sides[0], sides[1], sides[2])
        self.classes: int | None = logits.type.tensor_type.shape.dim[1].dim_value
        self._name, self._nodes = images.name, list(model.graph.node)
        self._evaluator = ReferenceEvaluator(model)

    def run(self, batch: Any) -> Any:
        return self._evaluator.run(None, {self._name: batch})[0].astype(np.float32)

    def layers(self, runs: int) -> list[LayerProfile]:
        return []

    def kernels(self) -> list[Kernel]:
        return [Kernel(node.op_type, "fp32", SLATE, (node.name,)) for node in self._nodes]

    def close(self) -> None:
        del self._evaluator


class ReferenceTarget:
    spec = TargetSpec(
        name="reference",
        extra="host",
        devices=(SLATE, "blackboard"),
        precisions=("fp32",),
        why_no_other="on slate one reckons in full",
        encoding=lambda device: "unsigned",
        writer="onnx_file",
        provers=("reference",),
        saturates=False,
        bare_files=BareFiles((SUFFIX,), describe, lambda path: "fp32"),
        build_options=frozenset(("workspace_mib",)),
        builds_ahead=True,
        is_built_for=lambda device: True,
        pixel_input=False,
    )

    def knows_device(self, name: str) -> bool:
        return name in self.spec.devices

    def available(self) -> Availability:
        return Availability(True, "reference 1")

    def devices(self) -> list[Device]:
        return [Device(SLATE, "a slate and chalk", ("fp32",))]

    def missing(self) -> list[Missing]:
        return [Missing("blackboard", "nobody has hung it up", "a nail and a hammer.")]

    def load(self, model_path: Path, device: str, options: RunOptions) -> Session:
        if device != SLATE:
            raise MissingError(f"there is no {device} here", "give --device slate.")
        return ReferenceSession(model_path)

    def save_engine(
        self, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
    ) -> Path:
        facts = {"device": device, "workspace_mib": options.workspace_mib}
        return write_engine(engine_dir / "slate.plan", model_path.read_bytes(), model_path, facts)


def as_bare_file(model_path: Path, folder: Path) -> Path:
    return Path(shutil.copy(model_path, folder / f"model{SUFFIX}"))
