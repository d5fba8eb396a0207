"""Target ``tensorrt``: NVIDIA GPUs and DLAs, with TensorRT 8.6 to 11 or TensorRT-RTX.

Where there are no Python bindings, as in JetPack 4 and 5, ``trtexec`` builds and measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeresnet.device.targets.protocol import Availability, Device, Kernel, Missing, Session
from edgeresnet.device.targets.spec import BareFiles, TargetSpec
from edgeresnet.device.targets.tensorrt import trtexec
from edgeresnet.device.targets.tensorrt.bindings import (
    FIX,
    Bindings,
    find_bindings,
    log_of,
    need_bindings,
)
from edgeresnet.device.targets.tensorrt.build import build_engine
from edgeresnet.device.targets.tensorrt.cuda import find_gpu, need_gpu
from edgeresnet.device.targets.tensorrt.dla import check_dla, is_quantized_file
from edgeresnet.device.targets.tensorrt.engine import (
    ENGINE,
    EngineRecord,
    Host,
    find_engine,
    known_cache,
    read_engine,
    read_record,
    write_engine,
)
from edgeresnet.device.targets.tensorrt.engine_facts import (
    describe_engine,
    engine_precision,
    record_beside,
)
from edgeresnet.device.targets.tensorrt.kernels import engine_kernels
from edgeresnet.errors import MissingError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.files.writing import write_bytes
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions

CAPABILITIES, DLA_CAPABILITIES = ("fp32", "fp16", "int8"), ("fp16",)
ONE_IMAGE = (1, 1, 1)


class TensorRtTarget:
    """TensorRT."""

    spec = TargetSpec(
        name="tensorrt",
        extra="tensorrt",
        # It comes with JetPack, or with the driver's packages; pip on a Jetson has none.
        system_packages=("tensorrt",),
        devices=("gpu", "dla0", "dla1"),
        precisions=("fp32", "fp16", "int8", "int8+fp16"),
        why_no_other="its graphs are written with FP16 or FP32 tensors",
        encoding=lambda device: "signed",
        writer="onnx_file",
        provers=("onnx",),
        saturates=False,
        run_options=lambda device: frozenset({"cuda_graph", "spin_wait"}),
        bare_files=BareFiles((ENGINE,), describe_engine, engine_precision, beside=record_beside),
        model_suffixes=(".onnx", ENGINE),
        build_options=frozenset(
            ("workspace_mib", "version_compatible", "hardware_compatible", "gpu_fallback")
        ),
        builds_ahead=True,
        needs_engine=True,
        is_built_for=lambda device: True,
        # It does nothing else with uint8.
        casts_pixels_first=True,
        nvidia_gpu=True,
    )

    def knows_device(self, name: str) -> bool:
        """The GPU, and the numbered DLAs beside it."""
        return name == "gpu" or (name.startswith("dla") and name[3:].isdigit())

    def available(self) -> Availability:
        """Whether TensorRT can build here; running needs a GPU too, see `devices`."""
        bindings = find_bindings()
        if isinstance(bindings, Bindings):
            gpu = find_gpu()
            note = f"builds engines, and runs none: {gpu}" if isinstance(gpu, str) else None
            return Availability(True, f"{bindings.product} {bindings.version_text}", reason=note)
        if (tool := trtexec.find_tool()) is not None:
            return Availability(True, f"trtexec {trtexec.tool_version(tool)}", reason=bindings)
        return Availability(False, reason=bindings, fix=FIX)

    def devices(self) -> list[Device]:
        """The GPU, and the DLAs beside it."""
        bindings, gpu = find_bindings(), find_gpu()
        if isinstance(bindings, str) or isinstance(gpu, str):
            return []
        about = f"{gpu.name}, compute capability {gpu.compute_capability}, CUDA {gpu.driver}"
        cores = range(_dla_cores(bindings))
        dlas = [Device(f"dla{core}", f"{gpu.name}'s DLA", DLA_CAPABILITIES) for core in cores]
        return [Device("gpu", about, CAPABILITIES), *dlas]

    def missing(self) -> list[Missing]:
        """Nothing: `available` says what is missing."""
        return []

    def load(self, model_path: Path, device: str, options: RunOptions) -> Session:
        """Open the engine that was built of an ``.onnx`` file, or an ``.engine`` itself."""
        from edgeresnet.device.targets.tensorrt.deserialize import deserialize
        from edgeresnet.device.targets.tensorrt.session import TensorRtSession

        check_device(device)
        if model_path.suffix == ENGINE:
            path, record = model_path, read_record(model_path)
            quantized = record.precision == "int8"
        else:
            quantized = is_quantized_file(model_path)
        check_dla(model_path, device, quantized=quantized)
        bindings = need_bindings()
        need_gpu()
        here = host_of(bindings)
        if model_path.suffix == ENGINE:
            if why := record.misfit(here, device):
                raise MissingError(
                    f"{path} does not run here: {why}",
                    f"build it here: edgeresnet build BUNDLE --device {device}.",
                )
        else:
            path, record = find_engine(model_path, device, here, options.engine_dir)
        plan = read_engine(path, record)
        engine = deserialize(bindings, plan, device, host_code=record.version_compatible)
        return TensorRtSession(bindings, engine, options, device)

    def save_engine(
        self, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
    ) -> Path:
        """Build an engine and write it with its record."""
        check_device(device)
        check_dla(model_path, device, quantized=is_quantized_file(model_path))
        bindings = find_bindings()
        if isinstance(bindings, str):
            tool = trtexec.find_tool()
            if tool is None:
                raise MissingError(f"TensorRT is not here: {bindings}", FIX)
            return trtexec.save_engine(tool, model_path, device, engine_dir, options)
        return _build_here(bindings, model_path, device, engine_dir, options)

    def engine_kernels(self, model_path: Path, layers: Mapping[str, str]) -> list[Kernel] | None:
        """From the record of the engine beside the model."""
        return engine_kernels(model_path, layers)

    def measures_outside(self) -> bool:
        """Where ``trtexec`` is and the Python bindings are not, as in JetPack 4 and 5."""
        return isinstance(find_bindings(), str) and trtexec.find_tool() is not None

    def measure_outside(
        self,
        model_path: Path,
        device: str,
        options: RunOptions,
        input_shape: tuple[int, int, int],
    ) -> dict[str, Any]:
        """Rows that ``trtexec`` measures, where there are no Python bindings."""
        tool = trtexec.find_tool()
        if tool is None:
            raise MissingError("trtexec is not here", FIX)
        if options.profile_layers:
            raise MissingError("the times of layers need TensorRT's Python bindings", FIX)
        shape = "x".join(map(str, input_shape))
        return trtexec.measure(tool, model_path, device, options.batch, options, shape)


def _build_here(
    bindings: Bindings, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
) -> Path:
    """Build with the Python bindings, and write engine, record and timing cache."""
    if not bindings.rtx:
        # An engine is for the GPU that its record names, so the GPU must tell its name.
        need_gpu()
    host = host_of(bindings)
    cache_path = engine_dir / f"timing-{host.version}-{host.compute_capability}.cache"
    cache = known_cache(engine_dir, cache_path)
    built = build_engine(bindings, model_path, device, options, cache)
    if built.timing_cache:
        write_bytes(built.timing_cache, cache_path, follow=False)
    # TensorRT-RTX builds for every GPU from Ampere on, and compiles the rest when it loads.
    record = EngineRecord(
        device,
        host,
        sha256_bytes(model_path.read_bytes()),
        sha256_bytes(built.plan),
        built.flags,
        options.batch or ONE_IMAGE,
        options.version_compatible,
        options.hardware_compatible or bindings.rtx,
        sha256_bytes(built.timing_cache) if built.timing_cache else None,
        tuple(vars(layer) for layer in built.layers),
    )
    return write_engine(engine_dir, built.plan, record)


def check_device(device: str) -> None:
    """Refuse what TensorRT has no name for."""
    if device != "gpu" and not (device.startswith("dla") and device[3:].isdigit()):
        raise MissingError(
            f"TensorRT has no device {device}", "give --device gpu, or dla0 on a Jetson with DLAs."
        )


def host_of(bindings: Bindings) -> Host:
    """This machine, as the records of engines describe it."""
    gpu = find_gpu()
    if isinstance(gpu, str):
        return Host(bindings.product, bindings.version_text)
    return Host(
        bindings.product,
        bindings.version_text,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
    )


def _dla_cores(bindings: Bindings) -> int:
    try:
        builder = bindings.trt.Builder(log_of(bindings))
    except TypeError:
        # Without a working driver there is no builder, and so nothing to run on.
        return 0
    return int(getattr(builder, "num_DLA_cores", 0))
