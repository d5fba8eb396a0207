"""ONNX to a TensorRT engine, in every TensorRT from 8.6 on and in TensorRT-RTX.

Precision comes from the graph: from TensorRT 10 on networks are strongly typed, before that the
builder's flags allow what the graph asks for. Nothing is calibrated here, ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.device.targets.tensorrt.bindings import WARNING, Bindings, log_of, tells_memory
from edgeresnet.device.targets.tensorrt.cuda import out_of_memory
from edgeresnet.device.targets.tensorrt.layers import EngineLayer, layers_of_json, layers_of_log
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.settings.export import BuildOptions

if TYPE_CHECKING:
    import tensorrt

FIX = "export it again with --target tensorrt, which writes what TensorRT reads as it is meant."
BUILD_FIX = "look up the message in NVIDIA's documentation; less memory may need --workspace-mib."
DLA_FIX = "add --gpu-fallback for layers that the DLA cannot run; profile --layers shows which."
# What TensorRT says: what it means, and what mends it. The first is only a warning of its parser,
# and then it runs with half the range.
KNOWN = {
    "UINT8 zero_point only on DLA": (
        "the model is quantized to uint8, which TensorRT reads as int8 and so halves the range",
        FIX,
    ),
    "Non-zero zero point is not supported": (
        "the model is quantized with zero points other than 0, and TensorRT has none",
        FIX,
    ),
    "input has type Int32 but must have type": (
        "the model has quantized biases, and TensorRT adds biases in float",
        FIX,
    ),
}
# Strong typing came in TensorRT 10 and is the only way in 11, where the flag for it is deprecated.
STRONG, ALWAYS_STRONG = (10,), (11,)


@dataclass(frozen=True)
class Built:
    """A serialized engine.

    Attributes:
        plan: its bytes.
        flags: that the builder was given, by TensorRT's names.
        layers: what TensorRT made of the model; empty if it does not say.
        timing_cache: to build faster next time; empty if there is none.
    """

    plan: bytes
    flags: tuple[str, ...]
    layers: tuple[EngineLayer, ...]
    timing_cache: bytes


def build_engine(
    bindings: Bindings,
    model_path: Path,
    device: str,
    options: BuildOptions,
    timing_cache: bytes = b"",
) -> Built:
    """Parse and build.

    Args:
        bindings: the TensorRT to build with.
        model_path: ``.onnx``.
        device: ``gpu``, or ``dla0`` and so on.
        options: batch sizes, memory, compatibility.
        timing_cache: what an earlier build has left.

    Raises:
        InputError: TensorRT cannot represent the model, or would misread it.
        MissingError: it cannot build here.
        CheckError: it fails to build.
    """
    log = log_of(bindings)
    log.take()
    check_dla(model_path, device, quantized=is_quantized_file(model_path))
    builder = _make_builder(bindings)
    strong = bindings.rtx or (bindings.version >= STRONG and not device.startswith("dla"))
    strong = strong or bindings.version >= ALWAYS_STRONG
    network = _made(bindings, builder.create_network(_network_flags(bindings, strong)))
    # A parser owns what it has read, so it must live until the engine is built.
    parser = _parse(bindings, network, model_path)
    config = _made(bindings, builder.create_builder_config())
    flags = _configure(
        bindings, builder, config, network, device, options,
        strong=strong, quantized=is_quantized_file(model_path),
    )  # fmt: skip
    cache = _use_cache(bindings, config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    del parser
    messages = log.take()
    _check_messages(messages, model_path)
    if plan is None:
        told = "; ".join(text for severity, text in messages if severity < WARNING)
        cause = f"TensorRT {bindings.version_text} does not build {model_path}: " + _last_error(
            messages
        )
        if tells_memory(told):
            raise out_of_memory(cause)
        raise CheckError(
            cause,
            DLA_FIX if device.startswith("dla") and not options.gpu_fallback else BUILD_FIX,
        )
    kept = bytes(memoryview(cache.serialize())) if cache is not None else b""
    content = bytes(memoryview(plan))
    lines = (line for _, text in messages for line in text.splitlines())
    layers = layers_of_log(lines) or inspect(bindings, content)
    return Built(content, tuple(flags), tuple(layers), kept)


def is_quantized_file(model_path: Path) -> bool:
    """Whether an ``.onnx`` file has Q/DQ, which TensorRT takes its int8 from."""
    return b"QuantizeLinear" in model_path.read_bytes()


def check_dla(model_path: Path, device: str, *, quantized: bool) -> None:
    """Refuse a quantized model for a DLA, which takes no Q/DQ: it knows implicit scales only."""
    if quantized and device.startswith("dla"):
        raise InputError(
            f"{model_path} is quantized by Q/DQ, and a DLA takes none",
            "export the float checkpoint with --target tensorrt --fp16 for the DLA, or run this "
            "one with --device gpu.",
        )


def _make_builder(bindings: Bindings) -> tensorrt.Builder:
    log = log_of(bindings)
    try:
        builder: tensorrt.Builder = bindings.trt.Builder(log)
    except TypeError as error:
        raise MissingError(
            f"TensorRT {bindings.version_text} cannot build here: {_last_error(log.take())}",
            "build on a machine with an NVIDIA GPU and its driver; TensorRT-RTX builds without: "
            "pip install 'edgeresnet[tensorrt-rtx]'.",
        ) from error
    return builder


def _made(bindings: Bindings, thing: Any) -> Any:
    """What TensorRT has made; where it has not, it says why in its log and returns None."""
    if thing is None:
        told = _last_error(log_of(bindings).take())
        cause = f"TensorRT {bindings.version_text} cannot begin to build: {told}"
        raise out_of_memory(cause) if tells_memory(told) else CheckError(cause, BUILD_FIX)
    return thing


def _parse(
    bindings: Bindings, network: tensorrt.INetworkDefinition, model_path: Path
) -> tensorrt.OnnxParser:
    """Fill ``network`` from the file; InputError if TensorRT cannot read it or would misread it."""
    log = log_of(bindings)
    parser: tensorrt.OnnxParser = bindings.trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(str(model_path))
    _check_messages(log.messages, model_path)
    if not parsed:
        raise _unreadable(parser, model_path)
    return parser


def inspect(bindings: Bindings, plan: bytes) -> list[EngineLayer]:
    """The layers of an engine from TensorRT's inspector; none where it cannot be loaded."""
    runtime: tensorrt.Runtime = bindings.trt.Runtime(log_of(bindings))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return []
    inspector = engine.create_engine_inspector()
    return layers_of_json(
        inspector.get_engine_information(bindings.trt.LayerInformationFormat.JSON)
    )


def _network_flags(bindings: Bindings, strong: bool) -> int:
    known = bindings.trt.NetworkDefinitionCreationFlag
    if bindings.rtx or (strong and bindings.version < ALWAYS_STRONG):
        return 1 << int(known.STRONGLY_TYPED)
    # TensorRT 10 is never without the explicit batch that 8 has to be asked for.
    return 1 << int(known.EXPLICIT_BATCH) if bindings.version < STRONG else 0


def _configure(
    bindings: Bindings,
    builder: tensorrt.Builder,
    config: tensorrt.IBuilderConfig,
    network: tensorrt.INetworkDefinition,
    device: str,
    options: BuildOptions,
    *,
    strong: bool,
    quantized: bool,
) -> list[str]:
    """Set the builder up; returns the names of what was set."""
    trt = bindings.trt
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    set_to = ["STRONGLY_TYPED"] if strong else []
    wanted = {
        "FP16": not strong,
        # Without Q/DQ there are no scales for int8, and none are made up here.
        "INT8": not strong and quantized,
        "SPARSE_WEIGHTS": options.sparse,
        "VERSION_COMPATIBLE": options.version_compatible,
        "GPU_FALLBACK": options.gpu_fallback and device.startswith("dla"),
    }
    for name in (name for name, on in wanted.items() if on):
        config.set_flag(getattr(trt.BuilderFlag, name))
        set_to.append(name)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * 2**20)
        set_to.append(f"WORKSPACE={options.workspace_mib}MiB")
    if options.hardware_compatible and not bindings.rtx:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        set_to.append("AMPERE_PLUS")
    if device.startswith("dla"):
        _use_dla(bindings, builder, config, device)
        set_to.append(f"DLA_CORE={config.DLA_core}")
    _add_profile(bindings, builder, config, network, options)
    return set_to


def _use_dla(
    bindings: Bindings, builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, device: str
) -> None:
    cores = int(getattr(builder, "num_DLA_cores", 0))
    core = int(device.removeprefix("dla") or 0)
    if core >= cores:
        raise MissingError(
            f"TensorRT {bindings.version_text} finds {cores} DLA cores here, and not {device}",
            "give --device gpu. Orin and Xavier have DLAs; TensorRT 10.8 to 11.4.0 cannot use "
            "them.",
        )
    config.default_device_type = bindings.trt.DeviceType.DLA
    config.DLA_core = core


def _add_profile(
    bindings: Bindings,
    builder: tensorrt.Builder,
    config: tensorrt.IBuilderConfig,
    network: tensorrt.INetworkDefinition,
    options: BuildOptions,
) -> None:
    """Tell which sizes an open batch dimension takes, and which it is best at."""
    images = network.get_input(0)
    shape = tuple(images.shape)
    if shape[0] != -1:
        return
    if options.batch is None:
        raise InputError(
            f"the batch of {images.name} {shape} is open, and nothing says which sizes it takes",
            "build a bundle, whose manifest says it.",
        )
    profile = _made(bindings, builder.create_optimization_profile())
    smallest, best, largest = ((size, *shape[1:]) for size in options.batch)
    profile.set_shape(images.name, smallest, best, largest)
    if config.add_optimization_profile(profile) < 0:
        raise CheckError(
            f"TensorRT does not take the batch sizes {options.batch}: "
            f"{_last_error(log_of(bindings).take())}",
            "export with another --batch.",
        )


def _use_cache(
    bindings: Bindings, config: tensorrt.IBuilderConfig, content: bytes
) -> tensorrt.ITimingCache | None:
    """TensorRT-RTX tunes when it loads, and so has no timings to keep."""
    if bindings.rtx:
        return None
    cache: Any = _made(bindings, config.create_timing_cache(content))
    # A cache of another device or version must not be used; TensorRT checks.
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _unreadable(parser: tensorrt.OnnxParser, model_path: Path) -> InputError:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    told = "; ".join(f"{e.node_name()}: {e.desc()}" for e in errors[:3])
    return known_fault(told, model_path) or InputError(
        f"TensorRT cannot read {model_path}: {told}", FIX
    )


def known_fault(text: str, model_path: Path) -> InputError | None:
    """Our error for what TensorRT says, if we know it."""
    for mark, (meaning, fix) in KNOWN.items():
        if mark in text:
            return InputError(f"TensorRT does not build {model_path}: {meaning} ({mark})", fix)
    return None


def _check_messages(messages: list[tuple[int, str]], model_path: Path) -> None:
    for severity, text in messages:
        if severity <= WARNING and (fault := known_fault(text, model_path)):
            raise fault


def _last_error(messages: list[tuple[int, Any]]) -> str:
    errors = [text for severity, text in messages if severity < WARNING]
    return errors[-1] if errors else "it gives no reason"
