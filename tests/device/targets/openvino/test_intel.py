"""Intel's NPU and GPU: which part is missing, from a tree in the layout of sysfs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device.targets.engine_record import describe_engines
from edgeresnet.device.targets.openvino import compiling as openvino
from edgeresnet.device.targets.openvino import intel, target
from edgeresnet.device.targets.openvino.compiling import compile_model
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import MissingError
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions

NPU, GPU, OTHER = ("0x8086", "0x120000"), ("0x8086", "0x030000"), ("0x10de", "0x030000")


def machine(root: Path, *devices: tuple[str, str], nodes: tuple[str, ...] = ()) -> Path:
    for i, (vendor, kind) in enumerate(devices):
        folder = root / f"sys/bus/pci/devices/0000:00:{i:02x}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
    for node in nodes:
        (root / node).parent.mkdir(parents=True, exist_ok=True)
        (root / node).touch()
    return root


@pytest.mark.parametrize(
    ("devices", "nodes", "told"),
    [
        ((GPU, OTHER), (), "has no Intel NPU"),
        ((NPU,), (), "intel_vpu is not loaded"),
        ((NPU,), ("dev/accel/accel0",), "user-mode driver is not"),
    ],
)
def test_why_no_npu_names_what_is_missing(
    tmp_path: Path, devices: tuple[tuple[str, str], ...], nodes: tuple[str, ...], told: str
) -> None:
    assert told in intel.why_no_npu(machine(tmp_path, *devices, nodes=nodes)).reason


@pytest.mark.parametrize(
    ("devices", "nodes", "told"),
    [
        ((NPU, OTHER), (), "has no Intel GPU"),
        ((GPU,), (), "i915 or xe"),
        ((GPU,), ("dev/dri/renderD128",), "OpenCL driver is not"),
    ],
)
def test_why_no_gpu_names_what_is_missing(
    tmp_path: Path, devices: tuple[tuple[str, str], ...], nodes: tuple[str, ...], told: str
) -> None:
    assert told in intel.why_no_gpu(machine(tmp_path, *devices, nodes=nodes)).reason


def test_missing_devices_are_those_in_the_machine_that_the_runtime_does_not_find(
    tmp_path: Path,
) -> None:
    root = machine(tmp_path, NPU, GPU)
    assert [m.name for m in intel.missing_devices(["cpu"], root)] == ["npu", "gpu"]
    assert [m.name for m in intel.missing_devices(["cpu", "gpu.1"], root)] == ["npu"]
    assert intel.missing_devices(["cpu"], machine(tmp_path / "other", OTHER)) == []


def test_settings_keep_what_is_compiled_unless_it_is_for_the_cpu(tmp_path: Path) -> None:
    assert intel.compile_settings("cpu", tmp_path) == {}
    assert intel.compile_settings("npu", tmp_path) == {"CACHE_DIR": str(tmp_path)}


class Core:
    """OpenVINO's core on a machine with an NPU."""

    def get_property(self, name: str, key: str) -> object:
        values = {"NPU_DRIVER_VERSION": 1688, "NPU_COMPILER_VERSION": 458754}
        return list(values) if key == "SUPPORTED_PROPERTIES" else values[key]


def test_driver_versions_are_told_where_the_plugin_has_them() -> None:
    assert intel.driver_versions(Core(), "NPU") == {"driver": "1688", "compiler": "458754"}


@pytest.mark.parametrize("device", ["npu", "gpu"])
def test_loading_says_what_is_missing_when_the_device_is_not_here(
    files: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    if device in [found.name for found in target_of("openvino").devices()]:
        pytest.skip(f"this machine has an Intel {device}")
    with pytest.raises(MissingError, match=f"finds no {device}: "):
        compile_model(files / "openvino-int8" / "model.xml", device, RunOptions())


def test_blob_is_kept_with_a_record_and_loaded_when_it_is_for_an_npu_or_gpu(
    files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those are not here: the CPU is taken for one of them."""
    for module in (openvino, target):
        monkeypatch.setattr(module, "CPU", "no device here")
    bundle = Path(shutil.copytree(files / "openvino-int8", tmp_path / "bundle"))
    (bundle / "engines").mkdir()
    target_of("openvino").save_engine(
        bundle / "model.xml", "cpu", bundle / "engines", BuildOptions()
    )
    (engine,) = describe_engines(bundle / "engines")
    assert (engine["file"], engine["device"]) == ("cpu.blob", "cpu")
    assert engine["openvino"] == target_of("openvino").available().version
    with monkeypatch.context() as patched:
        patched.setattr(openvino, "tensors", lambda ports: pytest.fail("the model was compiled"))
        assert compile_model(bundle / "model.xml", "cpu", RunOptions()) is not None
    with open_model(bundle) as opened:
        assert opened.session.classes == 10
