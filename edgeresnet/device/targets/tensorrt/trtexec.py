"""NVIDIA's ``trtexec``: builds and measures where TensorRT has no Python bindings.

Its options and defaults change with TensorRT's version, and so would the numbers: everything
that shapes them is set here, and what was set is part of the result.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeresnet.closing import temporary_folder
from edgeresnet.device.targets.engine_record import engine_dir_of
from edgeresnet.device.targets.tensorrt.bindings import tells_memory
from edgeresnet.device.targets.tensorrt.cuda import out_of_memory
from edgeresnet.device.targets.tensorrt.dla import check_dla, is_quantized_file
from edgeresnet.device.targets.tensorrt.engine import (
    ENGINE,
    EngineRecord,
    Host,
    read_engine,
    read_record,
    write_engine,
)
from edgeresnet.device.targets.tensorrt.layers import EngineLayer, layers_of_json
from edgeresnet.device.targets.tensorrt.messages import known_fault
from edgeresnet.device.targets.tensorrt.trtexec_output import (
    last_error,
    numbers_of,
    parse_device,
    parse_summary,
    parse_version,
)
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions

# Where NVIDIA's Debian packages and JetPack put it, which is on nobody's PATH.
USUAL_PATH = Path("/usr/src/tensorrt/bin/trtexec")
INPUT = "images"
WARMUP_MS, SECONDS = 500, 5
BUILD_TIMEOUT_S, RUN_TIMEOUT_S = 7200, 600


def find_tool() -> Path | None:
    """The program; None if it is not here."""
    on_path = shutil.which("trtexec")
    if on_path is not None:
        return Path(on_path)
    return USUAL_PATH if USUAL_PATH.is_file() else None


@functools.cache
def help_text(tool: Path) -> str:
    """What the program says about itself: a banner with its version, and its options."""
    return _run([str(tool), "--help"], 60, may_fail=True)


def tool_version(tool: Path) -> str:
    """TensorRT's version, as ``8.5.2``; InputError if the program does not say."""
    return parse_version(help_text(tool))


def build_command(
    tool: Path, version: str, model_path: Path, out_dir: Path, device: str, options: BuildOptions
) -> list[str]:
    """How ``trtexec`` of that version builds; engine and layers go to ``out_dir``.

    Raises:
        InputError: a quantized model is for a DLA, or nothing says the shape of an open batch.
    """
    quantized = is_quantized_file(model_path)
    check_dla(model_path, device, quantized=quantized)
    numbers = numbers_of(version)
    command = [
        str(tool),
        f"--onnx={model_path}",
        f"--saveEngine={out_dir / 'engine'}",
        f"--exportLayerInfo={out_dir / 'layers.json'}",
        "--profilingVerbosity=detailed",
        "--skipInference" if numbers >= (8, 6) else "--buildOnly",
    ]
    dla = device.startswith("dla")
    if numbers < (10,) or (dla and numbers < (11,)):
        # For a model without Q/DQ trtexec would make scales up.
        command += ["--fp16", "--int8"] if quantized else ["--fp16"]
    elif numbers < (11,):
        command.append("--stronglyTyped")
    if options.workspace_mib is not None:
        memory = "--memPoolSize=workspace:" if numbers >= (8, 4) else "--workspace="
        command.append(f"{memory}{options.workspace_mib}")
    if dla:
        command.append(f"--useDLACore={device.removeprefix('dla')}")
    wanted = {
        "--allowGPUFallback": dla and options.gpu_fallback,
        "--sparsity=enable": options.sparse,
        "--versionCompatible": options.version_compatible,
        "--hardwareCompatibilityLevel=ampere+": options.hardware_compatible,
    }
    return command + [flag for flag, on in wanted.items() if on] + _shapes(options)


def _shapes(options: BuildOptions) -> list[str]:
    if options.batch is None or options.batch[0] == options.batch[2]:
        return []
    if options.input_shape is None:
        raise InputError(
            "trtexec has to be told the shape of an open batch", "build a bundle, which says it."
        )
    sides = "x".join(map(str, options.input_shape))
    sizes = zip(("min", "opt", "max"), options.batch, strict=True)
    return [f"--{kind}Shapes={INPUT}:{size}x{sides}" for kind, size in sizes]


def save_engine(
    tool: Path, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
) -> Path:
    """Build an engine and write it with its record.

    Raises:
        InputError: TensorRT cannot represent the model, or would misread it.
        CheckError: ``trtexec`` fails, or does not say for which GPU it builds.
    """
    version = tool_version(tool)
    with temporary_folder() as folder:
        command = build_command(tool, version, model_path, Path(folder), device, options)
        output = _run(command, BUILD_TIMEOUT_S, may_fail=True)
        plan, layers = _built(Path(folder), output, model_path)
    gpu, capability = parse_device(output)
    if gpu is None or capability is None:
        raise CheckError(
            "trtexec built an engine and did not say for which GPU and compute capability, so "
            "nothing could check later where it fits; it is not kept",
            f"run it by hand to see what it prints: {' '.join(command)}",
        )
    record = EngineRecord(
        device,
        Host("tensorrt", version, gpu=gpu, compute_capability=capability),
        sha256_bytes(model_path.read_bytes()),
        sha256_bytes(plan),
        tuple(command[4:]),
        options.batch or (1, 1, 1),
        options.version_compatible,
        options.hardware_compatible,
        None,
        tuple(vars(layer) for layer in layers),
    )
    return write_engine(engine_dir, plan, record)


def _built(folder: Path, output: str, model_path: Path) -> tuple[bytes, list[EngineLayer]]:
    """The engine that a build has left, and its layers; our error if it has left none."""
    if fault := known_fault(output, model_path):
        raise fault
    plan_path, layers_path = folder / "engine", folder / "layers.json"
    if not plan_path.is_file():
        cause = f"trtexec does not build {model_path}: {last_error(output)}"
        if tells_memory(output):
            raise out_of_memory(cause)
        raise CheckError(
            cause,
            "look up the message in NVIDIA's documentation; less memory may need --workspace-mib.",
        )
    told = layers_path.read_text(encoding="utf-8") if layers_path.is_file() else "{}"
    return plan_path.read_bytes(), layers_of_json(told)


def run_command(
    tool: Path, about: str, engine_path: Path, batch: int, options: RunOptions, open_batch: str
) -> list[str]:
    """How ``trtexec`` measures what `edgeresnet.device.measure.latency` would.

    Args:
        tool: the program.
        about: its `help_text`.
        engine_path: to load.
        batch: images in a run.
        options: CUDA graph and waiting.
        open_batch: ``3x224x224`` for an engine that takes several batch sizes, else empty.
    """
    numbers = numbers_of(parse_version(about))
    command = [
        str(tool),
        f"--loadEngine={engine_path}",
        f"--warmUp={WARMUP_MS}",
        f"--duration={SECONDS}",
        "--avgRuns=1",
        # Several percentiles in one run came in 8.5.
        f"--percentile={'50,90,95,99' if numbers >= (8, 5) else '99'}",
    ]
    if open_batch:
        command.append(f"--shapes={INPUT}:{batch}x{open_batch}")
    if numbers < (11,):
        command += ["--useCudaGraph"] * options.cuda_graph + ["--useSpinWait"] * options.spin_wait
        return command
    # In 11 graph and polling are the default, and copies are left out unless asked for.
    command.append("--includeDataTransfers")
    command += [] if options.cuda_graph else ["--noCudaGraph"]
    quiet = "--noSpinWait"
    return command + ([quiet] if not options.spin_wait and quiet in about else [])


def measure(
    tool: Path, model_path: Path, device: str, batch: int | None, options: RunOptions, shape: str
) -> dict[str, Any]:
    """Figures of a bundle's engine, as ``profile`` has them; None for what trtexec does not say.

    Raises:
        InputError: the batch is not the engine's, or a quantized model is for a DLA.
        MissingError: no engine of this TensorRT is here.
        CheckError: ``trtexec`` fails, or runs on another GPU than the engine was built for.
    """
    check_dla(model_path, device, quantized=is_quantized_file(model_path))
    version = tool_version(tool)
    path, record = _engine(model_path, device, version, options)
    read_engine(path, record)
    size = batch or record.batch[0]
    if not record.batch[0] <= size <= record.batch[2]:
        raise InputError(
            f"{path} takes batches of {record.batch[0]} to {record.batch[2]}, not {size}",
            "export with a range, such as --batch 1:8:32, and build again.",
        )
    is_open = record.batch[0] != record.batch[2]
    command = run_command(tool, help_text(tool), path, size, options, shape if is_open else "")
    output = _run(command, RUN_TIMEOUT_S)
    gpu, _ = parse_device(output)
    if gpu != record.host.gpu:
        raise CheckError(
            f"{path} was built for {record.host.gpu}, and trtexec ran it on {gpu}",
            f"build it here: edgeresnet build {model_path.parent} --device {device}.",
        )
    return {**parse_summary(output, size), "measured_by": ["trtexec", *command[1:]]}


def _engine(
    model_path: Path, device: str, version: str, options: RunOptions
) -> tuple[Path, EngineRecord]:
    wanted = sha256_bytes(model_path.read_bytes())
    reasons = []
    for path in sorted(engine_dir_of(model_path, options).glob(f"*{ENGINE}")):
        record = read_record(path)
        # What GPU is here is known only when trtexec has run.
        here = replace(record.host, product="tensorrt", version=version)
        why = record.misfit(here, device)
        if why is None and record.model_sha256 == wanted:
            return path, record
        reasons.append(f"{path.name}: {why or 'it was built from another model'}")
    raise MissingError(
        f"{model_path.parent} has no engine for {device} and TensorRT {version}"
        + (f" ({'; '.join(reasons)})" if reasons else ""),
        f"build one on this device: edgeresnet build {model_path.parent} --device {device}.",
    )


def _run(command: list[str], timeout_s: int, *, may_fail: bool = False) -> str:
    """Output and messages of a command; CheckError if it fails and may not."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(f"trtexec does not run: {error}", "run it by hand to see why.") from error
    if done.returncode != 0 and not may_fail:
        cause = f"trtexec failed: {last_error(done.stdout)}"
        if tells_memory(done.stdout):
            raise out_of_memory(cause)
        raise CheckError(cause, f"run it by hand: {' '.join(command)}")
    return done.stdout
