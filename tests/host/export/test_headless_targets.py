"""A network without a head on every target, by the commands: exported, proven, audited, asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.export_bundle import export_bundle, folded
from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.settings.export import ONE_IMAGE
from tests.conftest import Command
from tests.networks_without_head import without_head

DIGITS = ("--data", "digits", "--limit", 40)
# By target and options: what runs in integers.
INTEGERS = {"Conv": 20, "Add": 8, "Gemm": 0}
EXPORTS = [
    pytest.param("onnx", (), marks=pytest.mark.slow), ("onnx", ("--int8",)),
    ("openvino", ()), pytest.param("openvino", ("--int8",), marks=pytest.mark.slow),
    # By default TensorRT's own tests compile engines.
    pytest.param("tensorrt", ("--int8",), marks=pytest.mark.slow),
    pytest.param("tensorrt", ("--int8", "--fp16"), marks=pytest.mark.slow),
    # By default test_features.py has the emulator prove its features.
    pytest.param("qnn", ("--int8",), marks=pytest.mark.slow),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoint, int8_checkpoint: Checkpoint
) -> Path:
    path = tmp_path_factory.mktemp("headless-targets")
    save_checkpoint(without_head(checkpoint), path / "float.pt")
    save_checkpoint(without_head(int8_checkpoint), path / "int8.pt")
    return path


@pytest.mark.parametrize(("target", "options"), EXPORTS, ids=lambda one: "".join(one) or "fp32")
def test_commands_take_a_network_without_a_head_to(
    folder: Path, tmp_path: Path, command: Command, target: str, options: tuple[str, ...]
) -> None:
    if not target_of(target).available().usable:
        pytest.skip(f"the runtime of {target} is not here")
    source = folder / ("int8.pt" if options else "float.pt")
    bundle = tmp_path / "bundle"
    code, out, told = command("export", source, "--target", target, *options, "-o", bundle)
    assert code == 0, told
    assert "no classifier: the bundle gives pool" in told + out
    manifest = load_bundle(bundle).manifest
    assert (manifest.output_names, manifest.classes) == (("pool",), ())
    assert set(manifest.proof["outputs"]) == {"pool"}
    if options:
        assert manifest.proof["integer_kernels"] == INTEGERS
    code, out, told = command("verify", bundle, "--json", "-")
    assert code == 0, out + told
    if target == "tensorrt":
        return
    outcomes = {one["name"]: one["outcome"] for one in json.loads(out)["claims"]}
    assert (outcomes["golden logits"], outcomes["integer kernels"]) == ("held", "held")
    judged = []
    for path in (source, bundle):
        code, out, told = command("evaluate", path, *DIGITS, "--json", "-")
        assert code == 0, told
        judged.append(json.loads(out))
    assert judged[0]["answers"] == judged[1]["answers"] == "embeddings"
    # Weights of 7 bits, where products saturate here, move some neighbours among random features.
    assert judged[1]["top1"] == pytest.approx(judged[0]["top1"], abs=0.2 if options else 0)


@pytest.mark.parametrize(
    "target", ["onnx", *(pytest.param(t, marks=pytest.mark.slow) for t in ("openvino", "tensorrt"))]
)
def test_embedding_is_on_no_grid_when_the_last_layer_is_float(
    tmp_path: Path, int8_checkpoint: Checkpoint, target: str
) -> None:
    if not target_of(target).available().usable:
        pytest.skip(f"the runtime of {target} is not here")
    mixed = replace(without_head(int8_checkpoint), float_layers=("layer4.1.conv2",))
    bundle = export_bundle(mixed, target=target, precision="int8", out_dir=tmp_path / "b")
    assert bundle.manifest.proof["integer_kernels"] == {"Conv": 19, "Add": 7, "Gemm": 0}
    graph = canonical_graph(folded(mixed), 16, ONE_IMAGE, quantized=True).graph
    add = next(node for node in graph if node.name == "layer4.1.add")
    (relu,) = [user for user, _ in add.outputs[0].uses()]
    assert [user.op_type for user, _ in relu.outputs[0].uses()] == ["GlobalAveragePool"]
