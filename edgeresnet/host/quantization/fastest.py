"""A network in INT8 and in every float precision that a device has, timed there by turns."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from edgeresnet.closing import temporary_folder
from edgeresnet.device.measure.fastest import contenders
from edgeresnet.device.measure.fresh_process import FreshModel
from edgeresnet.device.measure.interleaving import take_turns
from edgeresnet.device.measure.latency import Latency
from edgeresnet.device.session import ModelSource
from edgeresnet.device.targets.placement import check_fallback
from edgeresnet.device.targets.precision import WIDE, float_precision, is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import folded
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.sparsity_2_4 import is_sparse
from edgeresnet.host.quantization.latency_probe import Place, ready_model
from edgeresnet.progress import OnStep, silent
from edgeresnet.settings.measuring import RunOptions


def time_precisions(
    network: Checkpoint,
    int8: Checkpoint,
    place: Place,
    *,
    rounds: int,
    seed: int = 0,
    on_step: OnStep = silent,
) -> dict[str, Latency]:
    """Latency of one image in each precision, each model in a process of its own.

    Args:
        network: float.
        int8: what quantization made of it.
        place: where, with both kinds of precision (`contenders`).
        rounds: timed runs of each model, at least.
        seed: of the order of turns.
        on_step: told what is done.

    Raises:
        CheckError: the processor runs a part of a model that was meant for another device.
        EdgeResNetError: what writing, building or opening a model raises.
    """
    names = contenders(place.target, place.device)
    on_step(f"timing {', '.join(names)} by turns on {place.target}'s {place.device}")
    with temporary_folder() as folder, ExitStack() as stack:
        models: dict[str, FreshModel] = {}
        for name in names:
            path = _written(int8 if is_quantized(name) else network, place, name, Path(folder))
            options = RunOptions(threads=place.threads, precision=float_precision(name))
            if place.device != "cpu":
                _check_placed(path, place, options)
            source = ModelSource(path, place.device, options, target=place.target)
            models[name] = stack.enter_context(closing(FreshModel(source)))
        return take_turns(models, rounds, seed=seed)


def _written(checkpoint: Checkpoint, place: Place, precision: str, folder: Path) -> Path:
    """The model that an export to this precision would have, ready to load."""
    model = folded(checkpoint)
    if target_of(place.target).spec.float_layers_in == WIDE:
        model.in_sixteen_bits()
    own = folder / precision
    own.mkdir()
    spec, sparse = checkpoint.input_spec, is_sparse(checkpoint)
    return ready_model(model, spec, place, precision, own, sparse=sparse)


def _check_placed(path: Path, place: Place, options: RunOptions) -> None:
    """Refuse to time what would run elsewhere than where it is said to."""
    with target_of(place.target).load(path, place.device, options) as session:
        check_fallback(session.kernels(), place.device)
