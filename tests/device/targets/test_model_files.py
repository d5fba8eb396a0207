"""Model files of the user's own: measured, described, or refused before any image is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edgeresnet.api.opening import open_model
from edgeresnet.device.measure.accuracy import predict
from edgeresnet.device.measure.compare import compare
from edgeresnet.device.targets.model_files import describe_model
from edgeresnet.device.targets.onnx.graph_file import graph_of
from edgeresnet.device.targets.onnx.protocol_buffer import DamagedError
from edgeresnet.device.targets.tensorrt.engine import EngineRecord, Host, write_engine
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import Budgets, RunOptions
from tests.cli.test_app import NO_TORCH
from tests.conftest import CommandLine
from tests.fakes import FakeDataset, FakeSession, opened
from tests.small_models import write_onnx, write_openvino

KINDS = ("onnx", "openvino")


def write(kind: str, path: Path, **changes: Any) -> Path:
    model = write_onnx(path / "m.onnx", **changes)
    return model if kind == "onnx" else write_openvino(model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_model_is_refused_before_any_image_when_it_has_other_classes(
    edgeresnet: CommandLine, files: Path, tmp_path: Path, kind: str, command: str
) -> None:
    model = write(kind, tmp_path, classes=12)
    before = (files / f"{kind}-fp32", model) if command == "compare" else (model,)
    watched = (
        "import edgeresnet.device.measure.accuracy as a\n"
        "def refuse(*x, **y): raise AssertionError('images were read')\n"
        "a.batches = refuse"
    )
    found = edgeresnet(command, *before, "--data", "digits", "--limit", 20, changed=watched)
    assert found.returncode == 2, found.stderr
    assert f"{model.name} has 12 outputs, and digits has 10 classes" in found.stderr
    assert "Traceback" not in found.stderr


def test_predict_refuses_other_classes_when_only_the_first_batch_tells() -> None:
    session = FakeSession(lambda batch: np.zeros((len(batch), 7)))
    with pytest.raises(InputError, match="7 outputs, and fake has 10 classes"):
        predict(session, FakeDataset([0] * 100), InputSpec(8))
    assert len(session.seen) == 1


def test_compare_refuses_models_with_different_numbers_of_classes() -> None:
    spec, data = InputSpec(8), FakeDataset([0] * 10)
    sessions = [
        FakeSession(lambda batch, n=n: np.zeros((len(batch), n)), classes=n) for n in (10, 5)
    ]
    models = [opened(str(i), session, spec) for i, session in enumerate(sessions)]
    with pytest.raises(InputError, match="5 outputs, and fake has 10 classes"):
        compare(models, data, Budgets(), rounds=2)


@pytest.mark.parametrize("kind", KINDS)
def test_first_batch_tells_when_the_file_does_not(
    edgeresnet: CommandLine, tmp_path: Path, kind: str
) -> None:
    model = write(kind, tmp_path, classes=12, reshape=(-1, 4), told=False)
    found = edgeresnet("evaluate", model, "--data", "digits", "--limit", 20)
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert "4 outputs" in found.stderr or "no logits" in found.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"outputs": 2}, "2 outputs"),
        ({"shape": ("N", 3, "H", "W")}, "image size open"),
        ({"reshape": (-1,)}, "gives no logits"),
        ({"shape": ("N", 3, 16, 16), "dtype": TensorProto.INT64}, "a kind that is not known"),
    ],
    ids=["outputs", "open size", "rank", "int64"],
)
def test_model_is_refused_when_it_is_opened(
    tmp_path: Path, kind: str, changes: dict[str, Any], told: str
) -> None:
    model = write(kind, tmp_path, **changes)
    with pytest.raises(InputError, match=told), open_model(model):
        pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"spatial": True},
        {"dtype": TensorProto.FLOAT16},
        {"dtype": TensorProto.UINT8, "shape": ("N", 16, 16, 3)},
    ],
    ids=["rank 4", "float16", "uint8 NHWC"],
)
def test_model_gives_the_logits_of_the_plain_one_when_its_form_is_another(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    floats = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
    (tmp_path / "plain").mkdir()
    with open_model(write("onnx", tmp_path / "plain")) as plain:
        wanted = plain.session.run(floats)
    with open_model(write(kind, tmp_path, **changes)) as other:
        assert other.session.classes == 10
        assert other.embed_preprocess == (other.session.input_dtype == "uint8")
        found = other.session.run(pixels if other.embed_preprocess else floats)
    assert (found.shape, found.dtype) == ((4, 10), np.float32)
    assert np.abs(found - wanted).max() <= 0.01 * np.ptp(wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(1, 1, 16, 16), (1, 3, 16, 24), (1, 16, 24, 3)], ids=["grey", "oblong", "NHWC"]
)
def test_input_is_timed_and_no_images_are_made_for_it_when_it_is_unusual(
    edgeresnet: CommandLine, tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    model = write(kind, tmp_path, shape=shape)
    with open_model(model) as found:
        noise = np.zeros((1, *found.session.input_shape), np.float32)
        assert found.session.run(noise).shape == (1, 10)
        with pytest.raises(InputError, match="takes images of shape"):
            found.check_data(FakeDataset([0]))


@pytest.mark.parametrize("kind", KINDS)
def test_run_is_refused_when_the_graph_has_a_batch_of_its_own(tmp_path: Path, kind: str) -> None:
    model = write(kind, tmp_path, reshape=(1, 10), told=False)
    with open_model(model) as found, pytest.raises(InputError, match="batch"):
        found.session.run(np.zeros((4, 3, 16, 16), np.float32))


def test_batch_is_refused_when_the_file_has_another(tmp_path: Path) -> None:
    model = write("onnx", tmp_path, shape=(2, 3, 16, 16))
    with (
        pytest.raises(InputError, match="batches of 2 to 2, not 4"),
        open_model(model, options=RunOptions(batch=4)),
    ):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_describes_a_model_when_torch_and_onnx_are_not_here(
    edgeresnet: CommandLine, tmp_path: Path, kind: str
) -> None:
    model = write(kind, tmp_path)
    found = edgeresnet("inspect", model, "--json", "i.json", before=NO_TORCH)
    assert found.returncode == 0, found.stderr
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "conv1" in found.stdout
    assert "images float32 (?, 3, 16, 16)" in found.stdout
    result = json.loads((tmp_path / "i.json").read_text())
    assert (result["schema"], result["target"], result["precision"]) == (1, kind, "fp32")
    assert (result["image_size"], result["macs"]) == (16, 10 * 16 * 16 * 27)
    assert (result["parameters"], result["arch"], result["classes"]) == (280, None, None)
    (layer,) = result["layers"]
    assert (layer["name"], layer["out_channels"], layer["macs"], layer["precision"]) == (
        "conv1", 10, 69120, "fp32",
    )  # fmt: skip
    assert result["inputs"] == [{"name": "images", "shape": [None, 3, 16, 16], "dtype": "float32"}]
    assert [tensor["shape"] for tensor in result["outputs"]] == [[None, 10]]
    assert sum(result["operators"].values()) >= 3
    assert result["opset"]
    assert result["size_bytes"] > 1000


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_counts_as_the_manifest_does_when_the_bundles_model_is_given(
    files: Path, kind: str
) -> None:
    folder = files / f"{kind}-int8"
    manifest = json.loads((folder / "manifest.json").read_text())
    found = describe_model(folder / manifest["model"])
    assert (found["macs"], found["precision"]) == (manifest["macs"], "int8")
    assert found["parameters"] == manifest["parameters"]
    assert len(found["layers"]) == len(manifest["layers"])
    assert {layer["precision"] for layer in found["layers"]} == {"int8"}


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_tells_inputs_and_outputs_when_no_session_would_open_it(
    tmp_path: Path, kind: str
) -> None:
    found = describe_model(write(kind, tmp_path, shape=("N", 3, "H", "W"), outputs=2))
    assert [tensor["shape"] for tensor in found["inputs"]] == [[None, 3, None, None]]
    assert len(found["outputs"]) == 2
    assert found["image_size"] is None


@pytest.mark.parametrize(("kind", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_inspect_names_the_extra_when_the_runtime_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    model = write(kind, tmp_path)
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingError) as caught:
        describe_model(model)
    assert f"edgeresnet[{kind}]" in caught.value.fix


def test_inspect_reads_an_engines_record_when_no_tensorrt_is_here(
    edgeresnet: CommandLine, tmp_path: Path
) -> None:
    layer = {
        "name": "conv1", "op": "conv", "inputs": ["int8"], "weights": "int8", "outputs": ["int8"],
        "layers": ["conv1"], "unit": "gpu",
    }  # fmt: skip
    record = EngineRecord(
        "gpu", Host("tensorrt", "10.3.0", "aarch64", "Orin", "8.7", "12.6"), sha256_bytes(b"onnx"),
        sha256_bytes(b"plan"), (), (1, 4, 8), False, False, None, (layer,),
    )  # fmt: skip
    path = write_engine(tmp_path, b"plan", record)
    found = edgeresnet("inspect", path, "--json", "i.json", before=NO_TORCH)
    assert found.returncode == 0, found.stderr
    assert max(map(len, found.stdout.splitlines())) <= 80
    result = json.loads((tmp_path / "i.json").read_text())
    assert (result["target"], result["precision"], result["inputs"]) == ("tensorrt", "int8", None)
    assert result["operators"] == {"conv": 1}
    path.write_bytes(b"other")
    with pytest.raises(InputError, match="sha256 differs"):
        describe_model(path)


def test_inspect_is_one_message_when_the_file_is_nothing(
    edgeresnet: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for name, told in (("m.onnx", "a Git LFS pointer"), ("none.xml", "does not exist")):
        found = edgeresnet("inspect", name)
        assert found.returncode == 2, found.stderr
        assert told in found.stderr
        assert "Traceback" not in found.stderr


def test_default_opset_is_the_files_when_it_has_several(tmp_path: Path) -> None:
    content = write_onnx(tmp_path / "m.onnx").read_bytes()
    assert graph_of(content).opset == 17
    with pytest.raises(DamagedError, match="cut off"):
        graph_of(content[:10])
