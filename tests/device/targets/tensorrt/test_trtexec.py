"""trtexec: its versions' options, and its output as NVIDIA documents it."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from edgeresnet.device.targets.tensorrt import trtexec
from edgeresnet.device.targets.tensorrt.engine import read_record
from edgeresnet.device.targets.tensorrt.trtexec_output import (
    parse_device,
    parse_summary,
    parse_version,
)
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions

TOOL = Path("/usr/src/tensorrt/bin/trtexec")
# Written from the documentation of trtexec's performance summary, with figures made up.
SUMMARY = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --loadEngine=x.engine
[11/02/2026-10:00:00] [I] === Device Information ===
[11/02/2026-10:00:00] [I] Selected Device: Orin
[11/02/2026-10:00:00] [I] Compute Capability: 8.7
[11/02/2026-10:00:05] [I] === Performance summary ===
[11/02/2026-10:00:05] [I] Throughput: 500 qps
[11/02/2026-10:00:05] [I] Latency: min = 1.9 ms, max = 3.5 ms, mean = 2.05 ms, median = 2 ms, \
percentile(50%) = 2 ms, percentile(90%) = 2.2 ms, percentile(95%) = 2.3 ms, percentile(99%) = 3 ms
[11/02/2026-10:00:05] [I] Enqueue Time: min = 0.1 ms, max = 0.9 ms, mean = 0.2 ms, median = 0.15 ms
[11/02/2026-10:00:05] [I] H2D Latency: min = 0.01 ms, max = 0.1 ms, mean = 0.03 ms, median = 0.02 ms
[11/02/2026-10:00:05] [I] GPU Compute Time: min = 1.8 ms, max = 3.3 ms, mean = 1.99 ms, \
median = 1.97 ms, percentile(90%) = 2.1 ms, percentile(95%) = 2.2 ms, percentile(99%) = 2.9 ms
[11/02/2026-10:00:05] [I] D2H Latency: min = 0 ms, max = 0.02 ms, mean = 0.01 ms, median = 0.01 ms
[11/02/2026-10:00:05] [I] Total Host Walltime: 5.0 s
[11/02/2026-10:00:05] [I] Total GPU Compute Time: 4.9 s
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --loadEngine=x.engine
"""


def test_parse_summary_keeps_the_parts_of_a_run_apart() -> None:
    found = parse_summary(SUMMARY, batch=4)
    assert {key: found[key] for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms")} == {
        "p50_ms": 2.0, "p90_ms": 2.2, "p95_ms": 2.3, "p99_ms": 3.0, "mean_ms": 2.05,
    }  # fmt: skip
    parts = ("h2d_ms", "compute_ms", "d2h_ms", "enqueue_ms")
    assert [found[key] for key in parts] == [0.02, 1.97, 0.01, 0.15]
    assert (found["throughput_ips"], found["n"], found["batch"]) == (2000, 2500, 4)
    assert parse_device(SUMMARY) == ("Orin", "8.7")


def test_parse_summary_fails_with_trtexecs_own_error_when_there_is_none() -> None:
    with pytest.raises(CheckError, match="Engine could not be created"):
        parse_summary("[E] Engine could not be created\n", batch=1)


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("[TensorRT v8201]", "8.2.1"),
        ("[TensorRT v8502]", "8.5.2"),
        ("[TensorRT v8.6.2]", "8.6.2"),
        ("[TensorRT v100300] [b26]", "10.3.0"),
        ("[TensorRT v101303]", "10.13.3"),
        ("[TensorRT v110401]", "11.4.1"),
    ],
)
def test_parse_version_reads_every_banner(banner: str, version: str) -> None:
    assert parse_version(f"&&&& RUNNING TensorRT.trtexec {banner} # trtexec") == version


def test_parse_version_refuses_when_there_is_no_banner() -> None:
    with pytest.raises(InputError, match="does not say its version"):
        parse_version("usage")


@pytest.mark.parametrize(
    ("version", "device", "there", "absent"),
    [
        ("8.2.1", "gpu", ["--buildOnly", "--fp16", "--int8", "--workspace=64"], ["--strongly"]),
        ("8.5.2", "gpu", ["--buildOnly", "--memPoolSize=workspace:64"], ["--skipInference"]),
        ("8.6.2", "dla1", ["--skipInference", "--useDLACore=1", "--allowGPUFallback"], ["--int8"]),
        ("10.3.0", "gpu", ["--stronglyTyped"], ["--fp16", "--int8", "--allowGPUFallback"]),
        ("10.3.0", "dla0", ["--fp16", "--useDLACore=0"], ["--stronglyTyped", "--int8"]),
        ("11.0.0", "gpu", ["--skipInference"], ["--fp16", "--int8", "--stronglyTyped"]),
    ],
)
def test_build_command_speaks_the_language_of_its_version(
    tmp_path: Path, version: str, device: str, there: list[str], absent: list[str]
) -> None:
    options = BuildOptions((1, 4, 8), (3, 32, 32), workspace_mib=64, gpu_fallback=True)
    model = tmp_path / "m.onnx"
    model.write_bytes(b"onnx" if device.startswith("dla") else b"QuantizeLinear")
    command = trtexec.build_command(TOOL, version, model, Path("out"), device, options)
    assert all(flag in command for flag in there)
    assert not any(part.startswith(flag) for part in command for flag in absent)
    assert "--minShapes=images:1x3x32x32" in command
    assert "--maxShapes=images:8x3x32x32" in command
    assert not any("sparsity" in part for part in command)


@pytest.mark.parametrize("device", ["gpu", "dla0"])
def test_build_command_asks_for_int8_only_when_the_model_has_scales(
    tmp_path: Path, device: str
) -> None:
    """Without them trtexec makes ranges up, and the logits are wrong."""
    model = tmp_path / "m.onnx"
    model.write_bytes(b"Conv")
    command = trtexec.build_command(TOOL, "8.6.2", model, Path("o"), device, BuildOptions())
    assert "--fp16" in command
    assert "--int8" not in command
    model.write_bytes(b"QuantizeLinear")
    if device == "gpu":
        command = trtexec.build_command(TOOL, "8.6.2", model, Path("o"), device, BuildOptions())
        assert "--int8" in command
        return
    with pytest.raises(InputError, match="a DLA takes none"):
        trtexec.build_command(TOOL, "8.6.2", model, Path("o"), device, BuildOptions())
    with pytest.raises(InputError, match="a DLA takes none"):
        trtexec.measure(TOOL, model, device, None, RunOptions(), "3x32x32")


def test_build_command_allows_sparse_kernels_when_weights_are_sparse(tmp_path: Path) -> None:
    options = BuildOptions((1, 1, 1), sparse=True, hardware_compatible=True)
    model = tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    command = trtexec.build_command(TOOL, "10.3.0", model, Path("o"), "gpu", options)
    assert "--sparsity=enable" in command
    assert "--hardwareCompatibilityLevel=ampere+" in command
    assert not any("Shapes" in part for part in command)


@pytest.mark.parametrize(
    ("version", "options", "there", "absent"),
    [
        ("8502", RunOptions(), ["--useCudaGraph"], ["--useSpinWait", "--includeDataTransfers"]),
        ("100300", RunOptions(cuda_graph=False, spin_wait=True), ["--useSpinWait"], ["--useCuda"]),
        ("110000", RunOptions(), ["--includeDataTransfers", "--noSpinWait"], ["--noCudaGraph"]),
        (
            "110000",
            RunOptions(cuda_graph=False, spin_wait=True),
            ["--includeDataTransfers", "--noCudaGraph"],
            ["--noSpinWait"],
        ),
    ],
)
def test_run_command_pins_what_versions_have_other_defaults_for(
    version: str, options: RunOptions, there: list[str], absent: list[str]
) -> None:
    about = f"[TensorRT v{version}]\n  --noSpinWait  block instead of polling\n"
    command = trtexec.run_command(TOOL, about, Path("e"), 4, options, "3x32x32")
    assert all(flag in command for flag in there)
    assert not any(part.startswith(flag) for part in command for flag in absent)
    assert "--shapes=images:4x3x32x32" in command


FAKE = """#!{python}
import json, sys
options = dict(part.partition("=")[::2] for part in sys.argv[1:])
print({banner!r})
if "--onnx" in options:
    print({warning!r})
    open(options["--saveEngine"], "wb").write(b"plan")
    json.dump({{"Layers": [{{"Name": "conv1", "LayerType": "CaskConvolution", "Inputs":
        [{{"Format/Datatype": "Row major Int8 format"}}], "Outputs": []}}]}},
        open(options["--exportLayerInfo"], "w"))
print({summary!r})
"""


def fake_tool(folder: Path, warning: str = "", gpu: str = "Orin", summary: str = SUMMARY) -> Path:
    path = folder / "trtexec"
    path.write_text(
        FAKE.format(
            python=sys.executable,
            banner="[TensorRT v8502]",
            warning=warning,
            summary=summary.replace("Orin", gpu),
        )
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    (tmp_path / "bundle" / "engines").mkdir(parents=True)
    path = tmp_path / "bundle" / "model.onnx"
    path.write_bytes(b"onnx")
    return path


def test_trtexec_builds_a_recorded_engine_and_measures_it(tmp_path: Path, model_path: Path) -> None:
    trtexec.help_text.cache_clear()
    tool = fake_tool(tmp_path)
    options = BuildOptions((1, 1, 1), (3, 32, 32))
    path = trtexec.save_engine(tool, model_path, "gpu", model_path.parent / "engines", options)
    record = read_record(path)
    assert (record.host.version, record.host.gpu, record.host.compute_capability) == (
        "8.5.2", "Orin", "8.7",
    )  # fmt: skip
    assert record.precision == "int8"
    figures = trtexec.measure(tool, model_path, "gpu", None, RunOptions(), "3x32x32")
    assert figures["p50_ms"] == 2.0
    assert "--useCudaGraph" in figures["measured_by"]
    assert json.dumps(figures)
    other = fake_tool(tmp_path, gpu="Xavier")
    with pytest.raises(CheckError, match="built for Orin, and trtexec ran it on Xavier"):
        trtexec.measure(other, model_path, "gpu", None, RunOptions(), "3x32x32")


@pytest.mark.parametrize("line", ["Selected Device: Orin", "Compute Capability: 8.7"])
def test_trtexec_build_keeps_no_engine_when_it_does_not_say_for_which_gpu(
    tmp_path: Path, model_path: Path, line: str
) -> None:
    trtexec.help_text.cache_clear()
    tool = fake_tool(tmp_path, summary=SUMMARY.replace(line, ""))
    engines = model_path.parent / "engines"
    with pytest.raises(CheckError, match="did not say for which GPU"):
        trtexec.save_engine(tool, model_path, "gpu", engines, BuildOptions())
    assert list(engines.iterdir()) == []


def test_trtexec_measures_no_engine_whose_record_names_no_gpu(
    tmp_path: Path, model_path: Path
) -> None:
    """Older builds wrote such records."""
    trtexec.help_text.cache_clear()
    tool = fake_tool(tmp_path)
    path = trtexec.save_engine(
        tool, model_path, "gpu", model_path.parent / "engines", BuildOptions()
    )
    record_path = path.with_name(f"{path.name}.json")
    record_path.write_text(record_path.read_text().replace('"8.7"', "null"))
    with pytest.raises(MissingError, match="its record names no GPU"):
        trtexec.measure(tool, model_path, "gpu", None, RunOptions(), "3x32x32")


def test_trtexec_names_the_memory_when_it_does_not_suffice(
    tmp_path: Path, model_path: Path
) -> None:
    trtexec.help_text.cache_clear()
    tool = fake_tool(tmp_path)
    tool.write_text(f"#!{sys.executable}\nprint('[TensorRT v8502]\\n[E] 2: OutOfMemory (x)')\n")
    with pytest.raises(CheckError, match="OutOfMemory") as caught:
        trtexec.save_engine(tool, model_path, "gpu", model_path.parent / "engines", BuildOptions())
    assert "--workspace-mib" in caught.value.fix
    assert "else runs on the GPU" in caught.value.fix


def test_trtexec_build_fails_when_its_parser_misreads_the_model(
    tmp_path: Path, model_path: Path
) -> None:
    trtexec.help_text.cache_clear()
    tool = fake_tool(tmp_path, warning="[W] QuantizeLinear with UINT8 zero_point only on DLA")
    with pytest.raises(InputError, match="quantized to uint8"):
        trtexec.save_engine(tool, model_path, "gpu", model_path.parent / "engines", BuildOptions())
    assert list((model_path.parent / "engines").iterdir()) == []
