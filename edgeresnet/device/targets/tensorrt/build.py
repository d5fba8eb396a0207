"""ONNX to a TensorRT engine, in every TensorRT from 8.6 on and in TensorRT-RTX.

Precision comes from the graph: from TensorRT 10 on networks are strongly typed, before that the
builder's flags allow what the graph asks for. Nothing is calibrated here, ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.device.targets.tensorrt.bindings import WARNING, Bindings, log_of, tells_memory
from edgeresnet.device.targets.tensorrt.builder_config import configure, wanted_flags
from edgeresnet.device.targets.tensorrt.cuda import out_of_memory
from edgeresnet.device.targets.tensorrt.dla import check_dla, is_quantized_file
from edgeresnet.device.targets.tensorrt.layers import EngineLayer, layers_of_json, layers_of_log
from edgeresnet.device.targets.tensorrt.messages import (
    BUILD_FIX,
    DLA_FIX,
    FIX,
    check_messages,
    known_fault,
    last_error,
    made,
)
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.settings.export import BuildOptions

if TYPE_CHECKING:
    import tensorrt

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
    """Parse an ONNX file and build its engine.

    Args:
        bindings: to build with.
        model_path: ``.onnx``.
        device: ``gpu``, or ``dla0`` and so on.
        options: batch sizes, memory, compatibility.
        timing_cache: what an earlier build has left.

    Raises:
        InputError: TensorRT cannot represent the model, or would misread it.
        MissingError: it cannot build here.
        CheckError: it fails to build.
    """
    log_of(bindings).take()
    quantized = is_quantized_file(model_path)
    check_dla(model_path, device, quantized=quantized)
    builder = _make_builder(bindings)
    strong = _is_strong(bindings, device)
    network = made(bindings, builder.create_network(_network_flags(bindings, strong)))
    # A parser owns what it has read, so it must live until the engine is built.
    parser = _parse(bindings, network, model_path)
    config = made(bindings, builder.create_builder_config())
    wanted = wanted_flags(options, device, strong=strong, quantized=quantized)
    flags = configure(bindings, builder, config, network, device, options, wanted)
    cache = _use_cache(bindings, config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    del parser
    messages = log_of(bindings).take()
    check_messages(messages, model_path)
    if plan is None:
        raise _not_built(bindings, messages, model_path, device, options)
    return _built(bindings, plan, messages, ["STRONGLY_TYPED"] * strong + flags, cache)


def _built(
    bindings: Bindings,
    plan: tensorrt.IHostMemory,
    messages: list[tuple[int, str]],
    flags: list[str],
    cache: tensorrt.ITimingCache | None,
) -> Built:
    content = bytes(memoryview(plan))
    kept = bytes(memoryview(cache.serialize())) if cache is not None else b""
    return Built(content, tuple(flags), _layers(bindings, messages, content), kept)


def _layers(
    bindings: Bindings, messages: list[tuple[int, str]], plan: bytes
) -> tuple[EngineLayer, ...]:
    """From what the builder has logged, or else from the engine itself."""
    lines = (line for _, text in messages for line in text.splitlines())
    return tuple(layers_of_log(lines) or inspect(bindings, plan))


def _is_strong(bindings: Bindings, device: str) -> bool:
    """Whether the network's types are the graph's, as everywhere but on a DLA before 11."""
    if bindings.rtx or bindings.version >= ALWAYS_STRONG:
        return True
    return bindings.version >= STRONG and not device.startswith("dla")


def _not_built(
    bindings: Bindings,
    messages: list[tuple[int, str]],
    model_path: Path,
    device: str,
    options: BuildOptions,
) -> CheckError:
    told = "; ".join(text for severity, text in messages if severity < WARNING)
    cause = f"TensorRT {bindings.version_text} does not build {model_path}: {last_error(messages)}"
    if tells_memory(told):
        return out_of_memory(cause)
    needs_gpu = device.startswith("dla") and not options.gpu_fallback
    return CheckError(cause, DLA_FIX if needs_gpu else BUILD_FIX)


def _make_builder(bindings: Bindings) -> tensorrt.Builder:
    log = log_of(bindings)
    try:
        builder: tensorrt.Builder = bindings.trt.Builder(log)
    except TypeError as error:
        raise MissingError(
            f"TensorRT {bindings.version_text} cannot build here: {last_error(log.take())}",
            "build on a machine with an NVIDIA GPU and its driver; TensorRT-RTX builds without: "
            "pip install 'edgeresnet[tensorrt-rtx]'.",
        ) from error
    return builder


def _parse(
    bindings: Bindings, network: tensorrt.INetworkDefinition, model_path: Path
) -> tensorrt.OnnxParser:
    """Fill ``network`` from the file; InputError if TensorRT cannot read it or would misread it."""
    log = log_of(bindings)
    parser: tensorrt.OnnxParser = bindings.trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(str(model_path))
    check_messages(log.messages, model_path)
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


def _use_cache(
    bindings: Bindings, config: tensorrt.IBuilderConfig, content: bytes
) -> tensorrt.ITimingCache | None:
    """TensorRT-RTX tunes when it loads, and so has no timings to keep."""
    if bindings.rtx:
        return None
    cache: Any = made(bindings, config.create_timing_cache(content))
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
