"""How fast a pruned network is in INT8 on the target, end to end, before anybody trains it.

A kernel's time does not depend on what it computes, so a calibration on noise will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torchvision.models import ResNet

from edgeresnet.closing import Closing, temporary_folder
from edgeresnet.device.measure.fresh_process import fresh_p50_ms
from edgeresnet.device.measure.interleaving import interleave
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.protocol import ENGINES
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import write_model
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.progress import OnStep, silent
from edgeresnet.settings.export import BuildOptions, ExportOptions
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from edgeresnet.device.targets.protocol import Session
    from edgeresnet.settings.inputs import InputSpec

# Sessions of one model differ by a few percent from where their memory happens to lie.
SESSIONS, ROUNDS = 3, 40
PROFILE_WARMUP, PROFILE_RUNS = 10, 20
SUFFIX = re.compile(r"_token_|/|_myl\d+_\d+$| \+ ")


@dataclass(frozen=True)
class Place:
    """Where latency is measured."""

    target: str
    device: str = "cpu"
    threads: int | None = None


def int8_model_path(checkpoint: Checkpoint, target: str, device: str, folder: Path) -> Path:
    """Write a float network as the target's INT8 model, calibrated on noise, and ready to load."""
    size = checkpoint.input_spec.image_size
    model = QuantResNet(cast(ResNet, checkpoint.build()))
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(2, 3, size, size, generator=generator) for _ in range(2)]
    calibrate(model, images, "ema")
    model.fold()
    return ready_model(model, checkpoint.input_spec, Place(target, device), "int8", folder)


def ready_model(
    model: QuantResNet,
    spec: InputSpec,
    place: Place,
    precision: str,
    folder: Path,
    *,
    sparse: bool = False,
) -> Path:
    """Write a folded network as the target's model, unproven and ready to load.

    Args:
        model: calibrated for a quantized precision.
        spec: image size, and what pixels are normalized with.
        place: what loads it.
        precision: one of the target's.
        folder: to write into.
        sparse: its weights are 2:4 sparse.
    """
    target, device = target_of(place.target), place.device
    options = ExportOptions()
    _, files = write_model(model, spec, place.target, precision, folder, options, device)
    path = next(iter(files.values()))
    if target.spec.needs_engine:
        # It looks for them where a bundle has them, beside its model.
        engine_dir = folder / ENGINES
        engine_dir.mkdir(exist_ok=True)
        target.save_engine(path, device, engine_dir, BuildOptions(sparse=sparse))
    return path


class LatencyProbe(Closing):
    """Measures networks against the dense one; a context manager.

    A ratio comes from the same rounds, where a drifting machine cancels out. There each network
    evicts the other's weights and wakes its threads anew, which can double the time of a small
    one: milliseconds that must hold on the device are those of a network alone in a fresh process,
    as ``profile`` has them.

    Args:
        dense: the network that all are compared to.
        place: where.
        on_step: told every measurement.
        alone: measure each network in a process of its own, and the dense one once.
    """

    def __init__(
        self,
        dense: Checkpoint,
        place: Place,
        on_step: OnStep = silent,
        *,
        alone: bool = False,
    ) -> None:
        self._place, self._on_step, self._alone = place, on_step, alone
        self._folder = temporary_folder()
        try:
            self._dense_path = self._write(dense, "dense")
        except BaseException:
            self._folder.cleanup()
            raise

    def close(self) -> None:
        """Give back what is held."""
        self._folder.cleanup()

    def _write(self, checkpoint: Checkpoint, name: str) -> Path:
        folder = Path(self._folder.name) / name
        folder.mkdir(exist_ok=True)
        return int8_model_path(checkpoint, self._place.target, self._place.device, folder)

    def _open(self, path: Path, *, profile_layers: bool = False) -> Session:
        options = RunOptions(
            threads=self._place.threads, profile_layers=profile_layers, precision="fp32"
        )
        return target_of(self._place.target).load(path, self._place.device, options)

    def layer_costs(self) -> dict[str, float]:
        """Milliseconds of every layer of the dense network, as the runtime's profiler has it."""
        with self._open(self._dense_path, profile_layers=True) as session:
            image = noise(session)
            for _ in range(PROFILE_WARMUP + PROFILE_RUNS):
                session.run(image)
            # Runtimes append to the name of a layer that they fuse: conv1_token_3, fc/….,
            # conv1_myl0_3, conv1 + conv1.relu.
            return {
                SUFFIX.split(layer.name, maxsplit=1)[0]: layer.time_ms
                for layer in session.layers(PROFILE_RUNS)
                if layer.precision == "int8"
            }

    @cached_property
    def dense_ms(self) -> float:
        """Median milliseconds of one image through the dense network, measured once."""
        (dense_ms,) = self._medians(self._dense_path)
        self._on_step(f"dense {dense_ms:.3f} ms on {self._place.target}")
        return dense_ms

    def measure(self, checkpoint: Checkpoint) -> tuple[float, float]:
        """Median milliseconds of one image: the network's, and the dense's by the same means."""
        path = self._write(checkpoint, "pruned")
        if self._alone:
            (own_ms,), dense_ms = self._medians(path), self.dense_ms
        else:
            own_ms, dense_ms = self._medians(path, self._dense_path)
        self._on_step(f"{own_ms:.3f} ms, dense {dense_ms:.3f} ms on {self._place.target}")
        return own_ms, dense_ms

    def _medians(self, *paths: Path) -> list[float]:
        """Milliseconds of one image through each model, the middle one of several sessions."""
        place = self._place
        medians = [
            [fresh_p50_ms(path, place.target, place.device, place.threads) for path in paths]
            if self._alone
            else self._time_together(paths, attempt)
            for attempt in range(SESSIONS)
        ]
        middle: list[float] = np.median(medians, axis=0).tolist()
        return middle

    def _time_together(self, paths: Sequence[Path], seed: int) -> list[float]:
        with ExitStack() as stack:
            sessions = [stack.enter_context(self._open(path)) for path in paths]
            runs = {
                str(path): partial(session.run, noise(session))
                for path, session in zip(paths, sessions, strict=True)
            }
            timed = interleave(runs, ROUNDS, seed=seed)
        return [latency.percentile_ms(50) for latency in timed.values()]
