"""Before and after: accuracy paired on the same images, latency interleaved in the same minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.accuracy import Predictions, accuracy, agreement, paired_difference, predict
from edgeresnet.dataset import batches, normalize
from edgeresnet.device import environment, integer_speed_note
from edgeresnet.errors import InputError
from edgeresnet.latency import Latency, interleave, speedup
from edgeresnet.options import Budgets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.dataset import Dataset
    from edgeresnet.opening import Opened

SCHEMA = 1


def compare(
    models: Sequence[Opened],
    dataset: Dataset,
    budgets: Budgets,
    *,
    rounds: int = 100,
    batch: int = 1,
    seed: int = 0,
    references: Sequence[int] | None = None,
    on_images: Callable[[int], object] | None = None,
    on_round: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Measure all models on the same images and in the same rounds.

    Args:
        models: the baseline first.
        dataset: labelled images; each model preprocesses them by its own input spec.
        budgets: apply to all but the baseline.
        rounds: timed runs of each model.
        batch: inputs in a timed run.
        seed: of the order within rounds, and of the bootstrap.
        references: for each model the index of the one its speed-up is against; None: the
            baseline.
        on_images: called with the number of images that one model has done.
        on_round: called after each round.

    Returns:
        The JSON contract of ``compare``; see README.
    """
    predictions = [
        predict(
            m.session,
            dataset,
            m.input_spec,
            embed_preprocess=m.embed_preprocess,
            on_images=on_images,
        )
        for m in models
    ]
    inputs = [_input_batch(m, dataset, batch) for m in models]
    # An emulator's times say nothing, so it takes no part in the timed rounds.
    runs = {
        str(i): (lambda m=m, x=x: m.session.run(x))
        for i, (m, x) in enumerate(zip(models, inputs, strict=True))
        if not m.emulated
    }
    timed = interleave(runs, rounds, batch=batch, seed=seed, on_round=on_round) if runs else {}
    latencies = [timed.get(str(i)) for i in range(len(models))]
    references = references or [0] * len(models)
    names = unique_names([m.name for m in models])
    rows = [
        _row(i, names, models, predictions, latencies, references[i], seed)
        for i in range(len(models))
    ]
    checked = check_budgets(rows, budgets)
    return {
        "schema": SCHEMA,
        "baseline": names[0],
        "rows": rows,
        "agreements": [[agreement(a, b) for b in predictions] for a in predictions],
        "budgets": checked,
        "verdict": "pass" if all(b["met"] for b in checked) else "fail",
        "data": dataset.name,
        "n": len(dataset),
        "rounds": rounds,
        "batch": batch,
        "note": integer_speed_note(),
        "environment": environment(),
    }


def unique_names(names: Sequence[str]) -> list[str]:
    """Tell equal names apart by a number."""
    return [
        name if names.count(name) == 1 else f"{name}#{list(names[:i]).count(name) + 1}"
        for i, name in enumerate(names)
    ]


def _input_batch(model: Opened, dataset: Dataset, batch: int) -> NDArray[Any]:
    """The first images, as a batch that the model's session takes."""
    smallest, largest = model.session.batch_sizes
    size = min(max(batch, smallest), largest)
    pixels, _ = next(iter(batches(dataset, model.input_spec, size, raw=True)))
    pixels = np.resize(pixels, (size, *pixels.shape[1:]))
    return pixels if model.embed_preprocess else normalize(pixels, model.input_spec)


def _row(
    index: int,
    names: Sequence[str],
    models: Sequence[Opened],
    predictions: Sequence[Predictions],
    latencies: Sequence[Latency | None],
    reference: int,
    seed: int,
) -> dict[str, Any]:
    model, own, latency = models[index], predictions[index], latencies[index]
    baseline, before = predictions[0], latencies[reference]
    faster = None
    if latency is not None and before is not None:
        faster = speedup(before.samples_ms, latency.samples_ms, seed=seed).to_dict()
    return {
        "name": names[index],
        "target": model.target,
        "device": model.device,
        "precision": model.precision,
        **accuracy(own).to_dict(),
        "top1_difference": paired_difference(baseline.correct(), own.correct()).to_dict(),
        "agreement": agreement(baseline, own),
        **(latency.to_dict() if latency else dict.fromkeys(("p50_ms", "p99_ms"))),
        "emulated": model.emulated,
        "load_ms": model.load_ms,
        "preprocess_ms": own.preprocess_ms,
        "speedup": faster,
        "speedup_against": names[reference],
    }


def check_budgets(rows: Sequence[dict[str, Any]], budgets: Budgets) -> list[dict[str, Any]]:
    """Each budget with the worst candidate's value; a lone baseline is its own candidate."""
    candidates = rows[1:] or rows
    checked = []
    if budgets.max_p99_ms is not None or budgets.min_speedup is not None:
        _check_timed(candidates)
    if budgets.max_drop is not None:
        value = max(-row["top1_difference"]["value"] for row in candidates)
        checked.append(_budget("max_drop", budgets.max_drop, value, value <= budgets.max_drop))
    if budgets.max_p99_ms is not None:
        value = max(row["p99_ms"] for row in candidates)
        checked.append(
            _budget("max_p99_ms", budgets.max_p99_ms, value, value <= budgets.max_p99_ms)
        )
    if budgets.min_speedup is not None:
        # A float row is the reference of its own target: it cannot be faster than itself.
        faster = [r for r in candidates if r["speedup_against"] != r["name"]] or candidates
        value = min(row["speedup"]["value"] for row in faster)
        checked.append(
            _budget("min_speedup", budgets.min_speedup, value, value >= budgets.min_speedup)
        )
    return checked


def _check_timed(rows: Sequence[dict[str, Any]]) -> None:
    untimed = [row["name"] for row in rows if row["speedup"] is None]
    if untimed:
        raise InputError(
            f"a budget of time cannot be checked for {', '.join(untimed)}: an emulator ran it, or "
            "what it is compared to",
            "leave the budget out here, and compare on the device (--on ssh://USER@HOST).",
        )


def _budget(name: str, limit: float, value: float, met: bool) -> dict[str, Any]:
    return {"name": name, "limit": limit, "value": value, "met": met}
