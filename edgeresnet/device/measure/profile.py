"""How fast a model is at each batch size, and where its time goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.device.bundle.bundle import input_shape, load_bundle, read_manifest
from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.device.machine.board import ROOT, board_warnings
from edgeresnet.device.machine.cpu import runtime_threads
from edgeresnet.device.machine.environment import environment
from edgeresnet.device.machine.power_sensors import NO_SENSOR, find_meter
from edgeresnet.device.measure.concurrent_runs import check_concurrency
from edgeresnet.device.measure.energy import measure_energy
from edgeresnet.device.measure.layers import TimedLayers, time_layers
from edgeresnet.device.measure.peak import measures_peak
from edgeresnet.device.measure.presets import labels, swept, timed
from edgeresnet.device.measure.record import model_sha256, options_record
from edgeresnet.device.measure.stability import (
    Moment,
    machine_findings,
    moment,
    stability_of,
    stability_warnings,
    thread_findings,
)
from edgeresnet.device.session import Opened, Opener, check_devices
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.protocol import MeasuresOutside, PhaseTimes, Session
from edgeresnet.device.targets.registry import has_own_meter, target_of
from edgeresnet.errors import EdgeResNetError, MissingError
from edgeresnet.progress import OnStep, silent
from edgeresnet.results.stability import EnergyResults
from edgeresnet.settings.measuring import PresetName, ProfileSettings, RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Opening = AbstractContextManager[Opened]


def profile_model(
    path: Path,
    open_model: Opener,
    *,
    device: str | None = None,
    batches: Sequence[int] | None = None,
    options: RunOptions | None = None,
    image_size: int | None = None,
    layers: bool = False,
    how: ProfileSettings | None = None,
    root: Path = ROOT,
    on_step: OnStep = silent,
) -> tuple[list[dict[str, Any]], TimedLayers | None]:
    """Measure a model at each batch size, in a session of its own.

    Args:
        path: what ``open_model`` takes.
        open_model: opens it, once for each batch size.
        device: where to run; None: where the target usually does.
        batches: sizes; None takes the model's smallest.
        options: how it runs; its batch is that of ``batches``.
        image_size: of a foreign checkpoint.
        layers: refuse a model whose layers cannot be timed. They are timed wherever a peak can be
            measured, to say what limits it, in a further session, since the timers cost time.
        how: how long, with which numbers of threads and of runs at once.
        root: where sys/, proc/ and etc/ of the machine lie.
        on_step: told, once, what was assumed of a foreign checkpoint.

    Returns:
        One row of the JSON contract of ``profile`` for each size, and the layers at the first;
        None where they were not timed.

    Raises:
        InputError: a model does not take a batch size.
        MissingError: the device is only emulated here.
        CheckError: the CPU runs a part that was meant for another device.
    """
    check_devices([path], device)
    options = replace(options or RunOptions(), profile_layers=layers)
    how = how or ProfileSettings()
    runs = swept(options, batches, how)
    if (outside := _measured_outside(path, device, runs, root)) is not None:
        return outside, None
    opener = partial(open_model, path, device=device, image_size=image_size)
    tellers = [on_step, *[silent] * (len(runs) - 1)]
    rows = [
        _row(opener, replace(run, profile_layers=False), how.preset, root, tell)
        for run, tell in zip(runs, tellers, strict=True)
    ]
    for row, label in zip(rows, labels(runs, rows), strict=True):
        row |= label
    if not layers and not measures_peak(rows[0]["target"], rows[0]["device"]):
        return rows, None
    try:
        return rows, timed_layers(opener, runs[0], path)
    except EdgeResNetError as error:
        if layers:
            raise
        rows[0]["warnings"].append(f"what limits this model is not told: {error.cause}")
        return rows, None


def timed_layers(opener: Callable[..., Opening], options: RunOptions, path: Path) -> TimedLayers:
    """The layers of a model, in a session of their own, since the timers cost time.

    Args:
        opener: opens the model, as ``options`` say.
        options: how it runs; the batch is its, else the model's smallest.
        path: of the model.

    Raises:
        EdgeResNetError: the model cannot be opened, or the runtime does not time its layers.
    """
    with opener(options=replace(options, profile_layers=True)) as opened:
        images = _noise(opened, options.batch)
        threads = runtime_threads(options.threads) if opened.device == "cpu" else options.threads
        return time_layers(opened, images, path, threads=threads)


def _row(
    opener: partial[Opening], options: RunOptions, preset: PresetName, root: Path, on_step: OnStep
) -> dict[str, Any]:
    """The JSON of ``profile`` at one batch size."""
    with opener(options=options) as opened:
        for note in opened.notes:
            on_step(note)
        _check_real(opened)
        on_cpu = opened.device == "cpu"
        images = _noise(opened, options.batch)
        check_concurrency(opened.session, options.concurrency, opened.target)
        before = moment(root)
        latency, figures = timed(opened, images, options, preset)
        after = moment(root)
        energy, missed = _energy(opened, images, root)
        return {
            "target": opened.target,
            "device": opened.device,
            "precision": opened.precision,
            "threads": runtime_threads(options.threads) if on_cpu else options.threads,
            "load_ms": opened.load_ms,
            "first_ms": opened.first_ms,
            **latency.to_dict(),
            **figures,
            **_phases(opened.session, options),
            **energy,
            "model_sha256": model_sha256(opener.args[0]),
            "options": options_record(options),
            "placement": opened.placement(allow_fallback=options.allow_fallback),
            **_surroundings(
                before,
                after,
                root,
                missed,
                samples_ms=latency.samples_ms,
                threads=options.threads if on_cpu else None,
            ),
        }


def _check_real(opened: Opened) -> None:
    if opened.emulated:
        raise MissingError(
            f"{opened.device} is emulated here, and the time of an emulator is no latency",
            "profile on the device (--on ssh://USER@HOST); evaluate and compare work here.",
        )


def _energy(opened: Opened, images: NDArray[Any], root: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures of `Energy` where a sensor tells them, and why one that is there does not.

    ``energy`` says in any case which sensor told them, or why none did.
    """
    own_meter = has_own_meter(opened.target, opened.device)
    meter, reason = find_meter(root, nvidia_gpu=own_meter)
    if meter is None:
        told = EnergyResults(sensor=None, reason=reason or NO_SENSOR)
        return {"energy": told}, [reason] if reason else []
    try:
        energy = measure_energy(lambda: opened.session.run(images), meter, batch=len(images))
    except OSError as error:
        reason = f"no energy figures: {meter.name} stopped answering ({error})."
        return {"energy": EnergyResults(sensor=None, reason=reason)}, [reason]
    return {**energy.to_dict(), "energy": EnergyResults(sensor=meter.name, reason=None)}, []


def _measured_outside(
    path: Path, device: str | None, runs: Sequence[RunOptions], root: Path
) -> list[dict[str, Any]] | None:
    """Rows of a bundle whose target measures outside here, by a program of its own; else None."""
    if not (path / MANIFEST).is_file():
        return None
    target = target_of(read_manifest(path).target)
    if not isinstance(target, MeasuresOutside) or not target.measures_outside():
        return None
    bundle = load_bundle(path, trust=runs[0].trust)
    manifest = bundle.manifest
    device = device or target.spec.default_device
    shape = input_shape(manifest.input_spec, pixels=manifest.embed_preprocess)
    rows = []
    for options in runs:
        before = moment(root)
        own = replace(options, engine_dir=bundle.engine_dir)
        figures = target.measure_outside(bundle.model_path, device, own, shape)
        after = moment(root)
        rows.append(
            {
                "target": manifest.target,
                "device": device,
                "precision": manifest.precision,
                "threads": None,
                **figures,
                "model_sha256": model_sha256(path),
                "options": options_record(options),
                **_surroundings(before, after, root),
            }
        )
    return rows


def _surroundings(
    before: Moment,
    after: Moment,
    root: Path,
    warnings: Sequence[str] = (),
    *,
    samples_ms: NDArray[np.float64] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """What a reader asks of the machine that gave a number, whatever measured it."""
    told = [*board_warnings(before.board, after.board), *warnings]
    found = [*machine_findings(before, after), *thread_findings(threads, root)]
    stability = stability_of(samples_ms, found)
    return {
        "environment": environment(root),
        "board": {"before": before.board.to_dict(), "after": after.board.to_dict()},
        "stability": stability,
        "warnings": [*told, *stability_warnings(stability, told)],
    }


def _phases(session: Session, options: RunOptions) -> dict[str, Any]:
    """The phases of a run where the session knows them, and what shapes them."""
    if not isinstance(session, PhaseTimes):
        return {}
    settings = {"cuda_graph": options.cuda_graph, "spin_wait": options.spin_wait}
    return {**session.phase_times_ms(), **settings}


def _noise(opened: Opened, batch: int | None) -> NDArray[Any]:
    """A batch of noise, of the model's smallest size where none is given."""
    size = batch or opened.session.batch_sizes[0]
    return noise(opened.session, size, pixels=opened.embed_preprocess)
