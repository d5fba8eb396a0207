"""Engines load only where they fit and as they were built; layers are read as TensorRT writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.tensorrt.engine import (
    EngineRecord,
    Host,
    engine_name,
    find_engine,
    known_cache,
    read_engine,
    read_record,
    write_engine,
)
from edgeresnet.device.targets.tensorrt.kernels import engine_kernels
from edgeresnet.device.targets.tensorrt.layers import EngineLayer, layers_of_json, layers_of_log
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes

ORIN = Host("tensorrt", "10.3.0", "aarch64", "Orin", "8.7", "12.6")
MODEL, PLAN = b"onnx", b"plan"


def record_of(host: Host = ORIN, **changes: object) -> EngineRecord:
    plain = EngineRecord(
        "gpu", host, sha256_bytes(MODEL), sha256_bytes(PLAN), ("STRONGLY_TYPED",), (1, 4, 8), False,
        False, None, (),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    (tmp_path / "engines").mkdir()
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"product": "tensorrt-rtx"}, "it is tensorrt's, and tensorrt-rtx is here"),
        ({"machine": "x86_64"}, "built on aarch64"),
        ({"version": "10.13.3"}, "built by TensorRT 10.3.0, and 10.13.3 is here"),
        ({"gpu": "Thor", "compute_capability": "11.0"}, "built for Orin"),
        ({"gpu": "Orin Nano"}, "built for Orin"),
        ({"gpu": None, "compute_capability": None}, "no NVIDIA GPU"),
        ({"driver": "13.0"}, None),
    ],
)
def test_misfit_says_why_when_the_device_is_another(
    changes: dict[str, str | None], told: str | None
) -> None:
    why = record_of().misfit(replace(ORIN, **changes), "gpu")  # type: ignore[arg-type]
    assert (why is None) if told is None else (why is not None and told in why)


def test_misfit_allows_what_the_engine_was_built_compatible_with() -> None:
    later, newer = (
        replace(ORIN, version="10.13.0"),
        replace(ORIN, gpu="X", compute_capability="8.9"),
    )
    assert record_of(version_compatible=True).misfit(later, "gpu") is None
    assert record_of(version_compatible=True).misfit(replace(ORIN, version="11.0.0"), "gpu")
    assert record_of(replace(ORIN, version="10.13.0"), version_compatible=True).misfit(ORIN, "gpu")
    assert record_of(hardware_compatible=True).misfit(newer, "gpu") is None
    older = replace(ORIN, gpu="Xavier", compute_capability="7.2")
    assert record_of(hardware_compatible=True).misfit(older, "gpu")
    rtx = replace(ORIN, product="tensorrt-rtx")
    ahead = Host("tensorrt-rtx", "10.3.0", "aarch64")
    assert record_of(ahead).misfit(rtx, "gpu") is None
    assert record_of().misfit(ORIN, "dla0") == "it is for gpu"


def test_misfit_when_a_record_of_tensorrt_names_no_gpu() -> None:
    nowhere = replace(ORIN, gpu=None, compute_capability=None)
    for host in (ORIN, replace(ORIN, compute_capability="8.9"), nowhere):
        for compatible in (False, True):
            why = record_of(nowhere, hardware_compatible=compatible).misfit(host, "gpu")
            assert why is not None
            assert "its record names no GPU" in why


def test_record_is_the_same_when_read_back(model_path: Path) -> None:
    layer = EngineLayer("c", "conv", ("int8",), "int8", ("fp16",), ("conv1",))
    record = record_of(layers=(json.loads(json.dumps(vars(layer))),))
    path = write_engine(model_path.parent / "engines", PLAN, record)
    assert path.name == "gpu-sm87-tensorrt-10.3.0-aarch64.engine"
    assert read_record(path) == record
    assert record.precision == "int8"
    assert find_engine(model_path, "gpu", ORIN) == (path, record)
    assert read_engine(path, record) == PLAN


def test_engine_names_differ_when_hosts_do() -> None:
    hosts = [ORIN, replace(ORIN, version="10.4.0"), replace(ORIN, compute_capability=None)]
    assert len({engine_name(host, device) for host in hosts for device in ("gpu", "dla0")}) == 6


def test_read_engine_refuses_when_it_was_altered(model_path: Path) -> None:
    path = write_engine(model_path.parent / "engines", PLAN, record_of())
    path.write_bytes(b"code of somebody else")
    with pytest.raises(InputError, match="sha256 differs"):
        read_engine(path, read_record(path))


def test_read_record_refuses_when_an_engine_has_none(model_path: Path) -> None:
    path = model_path.parent / "engines" / "foreign.engine"
    path.write_bytes(PLAN)
    with pytest.raises(InputError, match="no record beside it"):
        read_record(path)
    path.with_name("foreign.engine.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        read_record(path)


def test_find_engine_lists_every_misfit_and_the_command_to_build(model_path: Path) -> None:
    engines = model_path.parent / "engines"
    write_engine(engines, PLAN, record_of(replace(ORIN, version="8.6.2")))
    write_engine(engines, PLAN, record_of(model_sha256="0" * 64))
    with pytest.raises(MissingError) as caught:
        find_engine(model_path, "gpu", ORIN)
    assert "built by TensorRT 8.6.2" in caught.value.cause
    assert "built from another model" in caught.value.cause
    assert f"edgeresnet build {model_path.parent} --device gpu" in caught.value.fix


def test_timing_cache_is_used_only_when_an_engine_vouches_for_it(model_path: Path) -> None:
    engines = model_path.parent / "engines"
    cache_path = engines / "timing.cache"
    assert known_cache(engines, cache_path) == b""
    cache_path.write_bytes(b"times")
    assert known_cache(engines, cache_path) == b""
    write_engine(engines, PLAN, record_of(timing_cache_sha256=sha256_bytes(b"times")))
    assert known_cache(engines, cache_path) == b"times"
    (engines / "a.engine.json").write_bytes(b"")
    assert known_cache(engines, cache_path) == b"times"
    cache_path.write_bytes(b"other times")
    assert known_cache(engines, cache_path) == b""


# As TensorRT 10 writes a fused convolution at detailed verbosity, and as 11 names types.
INSPECTED = {
    "Layers": [
        {
            "Name": "layer1.0.conv1 + layer1.0.conv1.relu",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "a", "Format/Datatype": "Thirty-two wide channel Int8 format"}],
            "Outputs": [{"Name": "b", "Format/Datatype": "Thirty-two wide channel Int8 format"}],
            "Weights": {"Type": "Int8", "Count": 36864},
        },
        {
            "Name": "fc_myl0_9",
            "LayerType": "gemm",
            "Inputs": [{"Name": "b", "Datatype": "Int8"}],
            "Constants": [{"Name": "w", "Datatype": "Int8"}],
            "Outputs": [{"Name": "c", "Datatype": "Half"}],
            "Metadata": "[ONNX Layer: fc][ONNX Layer: pool_quant.dequantize]",
        },
        {
            "Name": "{ForeignNode[conv1...layer4.1.add]}_DLA",
            "LayerType": "DLA",
            "Inputs": [{"Name": "a", "Format/Datatype": "DLA linear FP16 format"}],
            "Outputs": [{"Name": "b", "Format/Datatype": "DLA linear FP16 format"}],
        },
    ]
}


def test_layers_of_json_reads_types_weights_and_origins() -> None:
    conv, fc, dla = layers_of_json(json.dumps(INSPECTED))
    assert conv.layers == ("layer1.0.conv1", "layer1.0.conv1.relu")
    assert (conv.matrix, conv.precision, conv.weights, conv.unit) == (True, "int8", "int8", "gpu")
    assert (fc.layers[0], fc.precision, fc.weights, fc.outputs) == ("fc", "int8", "int8", ("fp16",))
    assert (dla.unit, dla.precision) == ("dla", "fp16")


def test_kernels_are_integer_when_tensorrt_10_fuses_add_and_convolution(model_path: Path) -> None:
    def layer(name: str, kind: str, weights: str, written: str) -> dict[str, object]:
        return vars(
            EngineLayer(
                name, "CaskConvolution", (kind,), weights, (written,), tuple(name.split(" + "))
            )
        )

    layers = (
        layer("layer1.0.conv2 + layer1.0.add + layer1.0.add.relu", "int8", "int8", "int8"),
        layer("layer1.1.conv2 + layer1.1.add", "int8", "int8", "fp16"),
        layer("fc", "fp16", "fp16", "fp16"),
    )
    write_engine(model_path.parent / "engines", PLAN, record_of(layers=layers))
    expected = {
        "layer1.0.conv2": "Conv",
        "layer1.0.add": "Add",
        "layer1.1.add": "Add",
        "fc": "Gemm",
    }
    kernels = engine_kernels(model_path, expected)
    assert kernels is not None
    by_layer = {
        name: is_quantized(kernel.precision) for kernel in kernels for name in kernel.layers
    }
    assert by_layer == {
        "layer1.0.conv2": True, "layer1.0.add": True, "layer1.1.add": False, "fc": False,
    }  # fmt: skip


def test_kernels_are_unknown_when_no_engine_was_built(model_path: Path) -> None:
    assert engine_kernels(model_path, {"conv1": "Conv"}) is None


def test_layers_of_log_reads_the_builders_own_lines() -> None:
    line = (
        "Name: conv1_myl0_1, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,4,8,8], "
        "Datatype: Int8, Format: (NHWC) Channel major format }], Constants: [ { Name: w, "
        "Datatype: Int8, Format: (NHWC) }, { Name: s, Datatype: Float, Format: (NHWC) }], "
        "Outputs: [ { Name: y, Datatype: Half, Format: (NHWC) }], TacticName: T, StreamId: 0, "
        "Metadata: [ONNX Layer: conv1][ONNX Layer: input_quant.dequantize]"
    )
    found = layers_of_log(["Layers:", line, "Engine Metadata:"])
    assert found == [
        EngineLayer(
            "conv1_myl0_1", "correlation", ("int8",), "int8", ("fp16",),
            ("conv1", "input_quant.dequantize"),
        )
    ]  # fmt: skip
