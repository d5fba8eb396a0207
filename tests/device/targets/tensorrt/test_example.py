"""The example of a TensorRT bundle on a made-up TensorRT, and on a GPU where there is one."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from edgeresnet.device.bundle.build import build_bundle
from edgeresnet.device.targets.registry import target_of
from edgeresnet.device.targets.tensorrt import bindings as tensorrt_bindings
from edgeresnet.device.targets.tensorrt.cuda import find_gpu
from edgeresnet.device.targets.tensorrt.engine import EngineRecord, Host, write_engine
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.settings.export import BatchRange, ExportOptions
from edgeresnet.settings.measuring import RunOptions
from tests.examples import assert_example_answers_as_edgeresnet, python_in
from tests.fake_tensorrt import VERSION, write_modules
from tests.forged import reseal_bundle

ORIN = Host("tensorrt", VERSION, platform.machine(), "Orin", "8.7", "12.6")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, int8_checkpoint: Checkpoint) -> Path:
    out_dir = tmp_path_factory.mktemp("tensorrt") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        # No engine of a compiler that is here by chance.
        patch.setattr(tensorrt_bindings, "MODULES", {})
        tensorrt_bindings.find_bindings.cache_clear()
        export_bundle(
            int8_checkpoint, target="tensorrt", precision="int8", out_dir=out_dir,
            options=ExportOptions(batch=BatchRange(2, 4, 8)),
        )  # fmt: skip
    tensorrt_bindings.find_bindings.cache_clear()
    return out_dir


@pytest.fixture
def bundle_dir(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


def add_engine(bundle_dir: Path, **facts: object) -> Path:
    """An engine that fits, but for the facts; its content is the path of the model."""
    (bundle_dir / "engines").mkdir(exist_ok=True)
    plan = str(bundle_dir / "model.onnx").encode()
    model = sha256_bytes((bundle_dir / "model.onnx").read_bytes())
    record = EngineRecord(
        "gpu", ORIN, model, sha256_bytes(plan), (), (2, 4, 8), False, False, None, ()
    )
    return write_engine(bundle_dir / "engines", plan, replace(record, **facts))  # type: ignore[arg-type]


def run_example(bundle_dir: Path, folder: Path, *arguments: str) -> CompletedProcess[str]:
    modules = write_modules(folder / "modules")
    return python_in(bundle_dir, folder, "example.py", *arguments, paths=[modules])


def test_example_answers_as_the_engine_that_fits(bundle_dir: Path, tmp_path: Path) -> None:
    add_engine(bundle_dir)
    add_engine(bundle_dir, host=replace(ORIN, compute_capability="9.9"))
    modules = write_modules(tmp_path / "modules")
    with target_of("onnx").load(bundle_dir / "model.onnx", "cpu", RunOptions()) as session:
        assert_example_answers_as_edgeresnet(bundle_dir, tmp_path, session, [modules])


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"device": "dla0"}, "it is for dla0"),
        ({"host": replace(ORIN, machine="m68k")}, "on m68k"),
        ({"host": replace(ORIN, version="10.2.0")}, "it was built by TensorRT 10.2.0"),
        ({"host": replace(ORIN, compute_capability="8.6")}, "for compute capability 8.6"),
        ({"model_sha256": "0"}, "another model"),
        ({"engine_sha256": "0"}, "it is not what was built"),
    ],
)
def test_example_tells_how_to_build_when_no_engine_fits(
    bundle_dir: Path, tmp_path: Path, facts: dict[str, object], told: str
) -> None:
    add_engine(bundle_dir, **facts)
    done = run_example(bundle_dir, tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
    assert f"edgeresnet build {bundle_dir} --device gpu" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "facts",
    [
        {"host": replace(ORIN, version="10.2.0"), "version_compatible": True},
        {"host": replace(ORIN, compute_capability="8.6"), "hardware_compatible": True},
    ],
)
def test_example_runs_an_engine_that_was_built_to_fit_others(
    bundle_dir: Path, tmp_path: Path, facts: dict[str, object]
) -> None:
    add_engine(bundle_dir, **facts)
    done = run_example(bundle_dir, tmp_path, "--check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(": good")


def test_example_loads_no_engine_without_a_record(bundle_dir: Path, tmp_path: Path) -> None:
    engine = add_engine(bundle_dir)
    engine.with_name(f"{engine.name}.json").unlink()
    done = run_example(bundle_dir, tmp_path, "--check")
    assert done.returncode == 1
    assert "nothing says where it comes from" in done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("embedded", [False, True])
def test_example_answers_as_edgeresnet_when_a_gpu_is_here(
    int8_checkpoint: Checkpoint, tmp_path: Path, embedded: bool
) -> None:
    gpu, bindings = find_gpu(), tensorrt_bindings.find_bindings()
    if isinstance(gpu, str) or isinstance(bindings, str):
        reasons = [reason for reason in (gpu, bindings) if isinstance(reason, str)]
        pytest.skip("; ".join(reasons))
    export_bundle(
        int8_checkpoint, target="tensorrt", precision="int8", out_dir=tmp_path / "b",
        options=ExportOptions(batch=BatchRange(1, 4, 8), embed_preprocess=embedded),
    )  # fmt: skip
    build_bundle(tmp_path / "b", "gpu")
    assert_example_answers_as_edgeresnet(tmp_path / "b", tmp_path)


def test_example_takes_features_of_the_engine_that_fits(
    int8_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_bindings, "MODULES", {})
    tensorrt_bindings.find_bindings.cache_clear()
    export_bundle(
        int8_checkpoint, target="tensorrt", precision="int8", out_dir=tmp_path / "b",
        options=ExportOptions(features=("C3", "pool"), batch=BatchRange(2, 4, 8)),
    )  # fmt: skip
    tensorrt_bindings.find_bindings.cache_clear()
    add_engine(tmp_path / "b")
    Image.new("RGB", (20, 20), (90, 20, 60)).save(tmp_path / "x.png")
    done = run_example(tmp_path / "b", tmp_path, str(tmp_path / "x.png"), "--check")
    assert done.returncode == 0, done.stderr
    assert "x.png: C3 (32, 8, 8) float32" in done.stdout
    assert "x.png: pool (128,) float32" in done.stdout
    assert done.stdout.count(": good") == 2
    with np.load(tmp_path / "b" / "golden.npz") as golden:
        arrays = {**golden, "features": golden["features"] + 1}
    np.savez(tmp_path / "b" / "golden.npz", **arrays)
    reseal_bundle(tmp_path / "b")
    (tmp_path / "again").mkdir()
    done = run_example(tmp_path / "b", tmp_path / "again", "--check")
    assert (done.returncode, done.stdout.count("NOT good")) == (1, 2)
