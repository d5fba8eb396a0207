"""A model file or an engine to what OpenVINO runs, with our errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from edgeresnet.device.machine.cpu import runtime_threads
from edgeresnet.device.machine.native_output import quiet_import
from edgeresnet.device.targets.classifier import TensorInfo, check_classifier
from edgeresnet.device.targets.engine_record import engine_dir_of, engine_fits, read_content
from edgeresnet.device.targets.openvino.graph_file import weights_of
from edgeresnet.device.targets.openvino.guard import check_shapes
from edgeresnet.device.targets.openvino.intel import WHY, compile_settings, driver_versions
from edgeresnet.device.targets.protocol import Availability
from edgeresnet.device.targets.stranger import said
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.places import cache_dir
from edgeresnet.settings.measuring import RunOptions

FIX = "pip install 'edgeresnet[openvino]'"
BLOB, CPU = ".blob", "cpu"
DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}
HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


def make_core() -> Any:
    """An ``openvino.Core``; MissingError says how to install it."""
    try:
        openvino = quiet_import("openvino")
    except ImportError as error:
        raise MissingError(f"target openvino needs openvino: {error}", FIX) from error
    return openvino.Core()


def our_name(name: str) -> str:
    lower = name.lower()
    return lower.removesuffix(".0")


def available() -> Availability:
    """Whether openvino can be imported."""
    try:
        openvino = quiet_import("openvino")
    except ImportError as error:
        return Availability(False, reason=f"openvino: {error}", fix=FIX)
    return Availability(True, version=str(openvino.__version__).split("-")[0])


def engine_facts(core: Any, device: str) -> dict[str, Any]:
    """What an engine for the device depends on."""
    here = available()
    return {
        "device": device,
        "openvino": here.version,
        **driver_versions(core, _names(core)[device]),
    }


def _names(core: Any) -> dict[str, str]:
    """OpenVINO's name of each device by ours."""
    return {our_name(name): name for name in core.available_devices}


def compile_model(model_path: Path, device: str, options: RunOptions) -> Any:
    """An ``openvino.CompiledModel`` set up for latency, with our errors.

    NPUs and GPUs take minutes to compile some networks, so theirs are cached, and the engine that
    `OpenVinoTarget.save_engine` left beside the model is loaded where it fits.
    """
    core = make_core()
    names = _names(core)
    if device not in names:
        _refuse(device, list(names))
    settings = _hints(options) | compile_settings(device, cache_dir() / "openvino")
    if device == CPU and (threads := runtime_threads(options.threads)) is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if options.profile_layers:
        settings["PERF_COUNT"] = True
    # An NPU computes floats in FP16 whatever is asked.
    if options.precision in HINTS and device != "npu":
        settings["INFERENCE_PRECISION_HINT"] = HINTS[options.precision]
    engine_path = engine_dir_of(model_path, options) / f"{device}{BLOB}"
    try:
        # A blob has its settings compiled in: what differs from them needs the model.
        plain = device != CPU and not options.profile_layers and options.batch is None
        plain &= options.concurrency == 1
        if plain and engine_fits(engine_path, model_path, engine_facts(core, device)) is None:
            return core.import_model(read_content(engine_path), names[device])
        model = core.read_model(str(model_path), weights_of(model_path) or "")
        form = check_classifier(
            model_path, tensors(model.inputs), tensors(model.outputs), options.image_size,
            options.outputs,
        )  # fmt: skip
        shape = model.inputs[0].partial_shape
        batch = _static_batch(model, device, options)
        if batch is not None:
            shape[0] = batch
        for at, side in enumerate(form.input_shape, 1):
            shape[at] = side
        if shape != model.inputs[0].partial_shape:
            model.reshape(shape)
        check_shapes(model_path, model)
        return core.compile_model(model, names[device], settings)
    except RuntimeError as error:
        raise InputError(
            f"OpenVINO cannot load {model_path} on {device}: {said(error)}",
            "export the model again; a newer OpenVINO may also read it.",
        ) from error


def _hints(options: RunOptions) -> dict[str, Any]:
    """For one run at a time the shortest; of several at once the most in all."""
    if options.concurrency == 1:
        return {"PERFORMANCE_HINT": "LATENCY"}
    several = {"PERFORMANCE_HINT_NUM_REQUESTS": options.concurrency}
    return {"PERFORMANCE_HINT": "THROUGHPUT", **several}


def _static_batch(model: Any, device: str, options: RunOptions) -> int | None:
    """The batch size to fix where the model leaves it open; None leaves it."""
    if not model.inputs[0].partial_shape[0].is_dynamic:
        return None
    # An NPU takes static shapes only.
    return options.batch or (1 if device == "npu" else None)


def _refuse(device: str, here: list[str]) -> NoReturn:
    if device in WHY:
        missing = WHY[device]()
        raise MissingError(f"OpenVINO finds no {device}: {missing.reason}", missing.fix)
    raise MissingError(
        f"OpenVINO finds no device {device} here, only {', '.join(here)}",
        "give --device with one of these.",
    )


def tensors(ports: Any) -> list[TensorInfo]:
    """Inputs or outputs of a model, compiled or not."""
    return [
        TensorInfo(port.get_any_name() if port.get_names() else "", sides(port), _dtype(port))
        for port in ports
    ]


def sides(port: Any) -> tuple[int | None, ...] | None:
    """Shape of an input or output; None for an open side, and for an open rank."""
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return None
    return tuple(None if side.is_dynamic else side.get_length() for side in shape)


def _dtype(port: Any) -> str:
    name = str(port.element_type.get_type_name())
    return DTYPES.get(name, name)
