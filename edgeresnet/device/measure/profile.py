"""How fast a model is at each batch size, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.device.bundle.bundle import MANIFEST, load_bundle
from edgeresnet.device.machine.board import ROOT, BoardState, board_state, board_warnings
from edgeresnet.device.machine.cpu import runtime_threads
from edgeresnet.device.machine.environment import environment
from edgeresnet.device.machine.power_sensors import find_meter
from edgeresnet.device.measure.energy import measure_energy
from edgeresnet.device.measure.latency import COLD_RUNS, measure
from edgeresnet.device.session import Opened, Opener, check_devices
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.protocol import LayerProfile, Session, StageTimes
from edgeresnet.device.targets.registry import target_of
from edgeresnet.device.targets.tensorrt import trtexec
from edgeresnet.device.targets.tensorrt.bindings import FIX, find_bindings
from edgeresnet.errors import MissingError
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYER_WARMUP, LAYER_RUNS = 10, 20
# Whose gpu is an NVIDIA one, with a power meter of its own.
NVIDIA_TARGETS = ("onnx", "tensorrt")


def profile_model(
    path: Path,
    open_model: Opener,
    *,
    device: str | None = None,
    batches: Sequence[int] | None = None,
    threads: int | None = None,
    image_size: int | None = None,
    layers: bool = False,
    root: Path = ROOT,
    cuda_graph: bool = True,
    spin_wait: bool = False,
    allow_fallback: bool = False,
) -> tuple[list[dict[str, Any]], list[LayerProfile]]:
    """Measure a model at each batch size, in a session of its own.

    Args:
        path: what ``open_model`` takes.
        open_model: opens it, once for each batch size.
        device: where to run; None: where the target usually does.
        batches: sizes; None takes the model's smallest.
        threads: None leaves the choice to the runtime.
        image_size: of a foreign checkpoint.
        layers: measure each layer too, in a further session, since its timers cost time.
        root: where sys/, proc/ and etc/ of the machine lie.
        cuda_graph: on a GPU: launch the whole network at once.
        spin_wait: on a GPU: wait by polling.
        allow_fallback: the CPU may run what the device cannot.

    Returns:
        One row of the JSON contract of ``profile`` for each size, and the layers at the first.

    Raises:
        InputError: a model does not take a batch size.
        MissingError: the device is only emulated here.
        CheckError: the CPU runs a part that was meant for another device.
    """
    check_devices([path], device)
    rows: list[dict[str, Any]] = []
    sizes: list[int | None] = [*batches] if batches else [None]
    base = RunOptions(
        threads=threads, cuda_graph=cuda_graph, spin_wait=spin_wait, allow_fallback=allow_fallback
    )
    if (outside := _by_trtexec(path, device, sizes, base, root, layers=layers)) is not None:
        return outside, []
    for batch in sizes:
        options = replace(base, batch=batch)
        with open_model(path, device=device, options=options, image_size=image_size) as opened:
            if opened.emulated:
                raise MissingError(
                    f"{opened.device} is emulated here, and the time of an emulator is no latency",
                    "profile on the device (--on ssh://USER@HOST); evaluate and compare work here.",
                )
            images = _noise(opened, batch)
            before = board_state(root)
            # The processor's caches say nothing about another device.
            cold_runs = COLD_RUNS if opened.device == "cpu" else 0
            latency = measure(opened.session, images, cold_runs=cold_runs)
            after = board_state(root)
            energy, missed = _energy(opened, images, root)
            rows.append(
                {
                    "target": opened.target,
                    "device": opened.device,
                    "precision": opened.precision,
                    "threads": runtime_threads(threads) if opened.device == "cpu" else threads,
                    "load_ms": opened.load_ms,
                    "first_ms": opened.first_ms,
                    **latency.to_dict(),
                    **_stages(opened.session, options),
                    **energy,
                    "placement": opened.placement(allow_fallback=allow_fallback),
                    **_surroundings(before, after, root, missed),
                }
            )
    found: list[LayerProfile] = []
    if layers:
        first = batches[0] if batches else None
        options = replace(base, batch=first, profile_layers=True)
        with open_model(path, device=device, options=options, image_size=image_size) as opened:
            images = _noise(opened, first)
            for _ in range(LAYER_WARMUP + LAYER_RUNS):
                opened.session.run(images)
            found = opened.session.layers(LAYER_RUNS)
    return rows, found


def _energy(opened: Opened, images: NDArray[Any], root: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures of `Energy` where a sensor tells them, and why one that is there does not."""
    nvidia_gpu = opened.target in NVIDIA_TARGETS and opened.device.startswith("gpu")
    meter, reason = find_meter(root, nvidia_gpu=nvidia_gpu)
    if meter is None:
        return {}, [reason] if reason else []
    try:
        energy = measure_energy(lambda: opened.session.run(images), meter, batch=len(images))
    except OSError as error:
        return {}, [f"no energy figures: {meter.name} stopped answering ({error})."]
    return energy.to_dict(), []


def _by_trtexec(
    path: Path,
    device: str | None,
    sizes: Sequence[int | None],
    options: RunOptions,
    root: Path,
    *,
    layers: bool,
) -> list[dict[str, Any]] | None:
    """Rows measured by ``trtexec``, where TensorRT is here and its Python bindings are not."""
    tool = trtexec.find_tool() if isinstance(find_bindings(), str) else None
    if tool is None or not (path / MANIFEST).is_file():
        return None
    bundle = load_bundle(path)
    manifest = bundle.manifest
    if manifest.target != "tensorrt":
        return None
    if layers:
        raise MissingError("the times of layers need TensorRT's Python bindings", FIX)
    device = device or target_of(manifest.target).default_device
    size = manifest.input_spec.image_size
    shape = f"{size}x{size}x3" if manifest.embed_preprocess else f"3x{size}x{size}"
    rows = []
    for batch in sizes:
        before = board_state(root)
        figures = trtexec.measure(tool, bundle.model_path, device, batch, options, shape)
        after = board_state(root)
        rows.append(
            {
                "target": manifest.target,
                "device": device,
                "precision": manifest.precision,
                "threads": None,
                **figures,
                **_surroundings(before, after, root),
            }
        )
    return rows


def _surroundings(
    before: BoardState, after: BoardState, root: Path, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """What a reader asks of the machine that gave a number, whatever measured it."""
    return {
        "environment": environment(root),
        "board": {"before": before.to_dict(), "after": after.to_dict()},
        "warnings": [*board_warnings(before, after), *warnings],
    }


def _stages(session: Session, options: RunOptions) -> dict[str, Any]:
    """The parts of a run where the session knows them, and what shapes them."""
    if not isinstance(session, StageTimes):
        return {}
    settings = {"cuda_graph": options.cuda_graph, "spin_wait": options.spin_wait}
    return {**session.stage_times_ms(), **settings}


def _noise(opened: Opened, batch: int | None) -> NDArray[Any]:
    """A batch of noise, of the model's smallest size where none is given."""
    size = batch or opened.session.batch_sizes[0]
    return noise(opened.session, size, pixels=opened.embed_preprocess)
