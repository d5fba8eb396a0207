"""How TensorRT's builder is set up for a device: flags, memory, DLA, open batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.device.targets.tensorrt.bindings import Bindings, log_of
from edgeresnet.device.targets.tensorrt.messages import last_error, made
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.settings.export import BuildOptions

if TYPE_CHECKING:
    import tensorrt


def wanted_flags(options: BuildOptions, device: str, *, strong: bool, quantized: bool) -> list[str]:
    """The builder's flags, by TensorRT's names.

    Args:
        options: sparsity, compatibility, what the GPU may do for a DLA.
        device: ``gpu``, or ``dla0`` and so on.
        strong: the network is strongly typed, so that the graph itself says the precision.
        quantized: the graph has Q/DQ. Without there are no scales for int8, and none are made up.
    """
    wanted = {
        "FP16": not strong,
        "INT8": not strong and quantized,
        "SPARSE_WEIGHTS": options.sparse,
        "VERSION_COMPATIBLE": options.version_compatible,
        "GPU_FALLBACK": options.gpu_fallback and device.startswith("dla"),
    }
    return [name for name, on in wanted.items() if on]


def configure(
    bindings: Bindings,
    builder: tensorrt.Builder,
    config: tensorrt.IBuilderConfig,
    network: tensorrt.INetworkDefinition,
    device: str,
    options: BuildOptions,
    wanted: list[str],
) -> list[str]:
    """Set the builder up; returns the names of what was set, ``wanted`` included."""
    trt = bindings.trt
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for name in wanted:
        config.set_flag(getattr(trt.BuilderFlag, name))
    set_to = [*wanted]
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
    profile = made(bindings, builder.create_optimization_profile())
    smallest, best, largest = ((size, *shape[1:]) for size in options.batch)
    profile.set_shape(images.name, smallest, best, largest)
    if config.add_optimization_profile(profile) < 0:
        raise CheckError(
            f"TensorRT does not take the batch sizes {options.batch}: "
            f"{last_error(log_of(bindings).take())}",
            "export with another --batch.",
        )
