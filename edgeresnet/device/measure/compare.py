"""Before and after: accuracy paired on the same images, latency by turns in the same minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.machine.environment import environment, integer_speed_note
from edgeresnet.device.measure.accuracy import Predictions, agreement
from edgeresnet.device.measure.answers_row import answers_row
from edgeresnet.device.measure.budgets import check_time_budgets, verdict_of
from edgeresnet.device.measure.changed_images import changed_images
from edgeresnet.device.measure.fastest import judge
from edgeresnet.device.measure.fresh_process import FreshModel
from edgeresnet.device.measure.interleaving import Here, speedup, take_turns
from edgeresnet.device.measure.latency import COLD_RUNS, Latency
from edgeresnet.device.measure.neighbours import EMBEDDINGS, by_embeddings
from edgeresnet.device.measure.paired_answers import Answered, answered
from edgeresnet.device.measure.record import model_sha256, options_record
from edgeresnet.device.measure.stability import Moment, moment, row_stability
from edgeresnet.device.targets.noise import noise
from edgeresnet.errors import InputError
from edgeresnet.results.fastest import FastestOfTarget
from edgeresnet.settings.measuring import Budgets, check_without_labels

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.session import Opened

SCHEMA = 1


def compare(
    models: Sequence[Opened],
    dataset: Dataset,
    budgets: Budgets,
    *,
    rounds: int = 100,
    batch: int | None = None,
    seed: int = 0,
    references: Sequence[int] | None = None,
    bound: Sequence[Dataset] | None = None,
    all_images: bool = False,
    contests: Mapping[str, Sequence[int]] | None = None,
    on_images: Callable[[int], object] | None = None,
    on_block: Callable[[], object] | None = None,
    on_predictions: Callable[[Sequence[Predictions]], object] | None = None,
) -> dict[str, Any]:
    """Measure all models on the same images and in the same rounds.

    With a budget of accuracy the images come in a random order, and no more of them than decide
    it: top-1 and all else that is told of accuracy is of those. Each model is timed in a process of
    its own: no peak memory and no thread is mixed with another's.

    Args:
        models: the baseline first.
        dataset: images; each model preprocesses them by its own input spec. Without labels there is
            no top-1, only how often a model answers as the baseline does.
        budgets: apply to all but the baseline.
        rounds: timed runs of each model, at least.
        batch: inputs in a timed run, of every model; None: the smallest that all take.
        seed: of the order of images, of that within rounds, and of the bootstrap.
        references: for each model what its speed-up is against, by index; None: the baseline.
        bound: for each model the data with labels in the order of its outputs; None: as it is.
        all_images: answer all images, whatever the budgets say on the way.
        contests: by a name, such as of a target, the indices of one network's models there, INT8
            and float; the fastest of each is told and marked.
        on_images: called with the number of images that one model has done.
        on_block: called after each block of timed runs.
        on_predictions: called with what each model answered, before anything is timed.

    Returns:
        The JSON contract of ``compare``; see README.

    Raises:
        InputError: there is no batch size that all models take, or one does not take ``batch``; or
            the data has no labels, and a budget needs them, or the models have other classes.
    """
    if not is_labelled(dataset):
        check_without_labels(budgets.max_drop, dataset.name, max_class_drop=budgets.max_class_drop)
    models = by_embeddings(models)
    size = common_batch(models, batch)
    names = unique_names([m.name for m in models])
    found = answered(
        models,
        names,
        bound or [dataset] * len(models),
        budgets.of_accuracy(),
        seed=seed, all_images=all_images or models[0].answers == EMBEDDINGS, on_images=on_images,
    )  # fmt: skip
    if on_predictions is not None:
        on_predictions(found.predictions)
    timed, moments = _time(models, rounds, size, seed, on_block)
    rows = _rows(models, names, found, timed, references or [0] * len(models), seed)
    for row, one, model in zip(rows, timed, models, strict=True):
        row |= _recorded(model, one, moments)
    return {
        **_figures(rows, found, dataset, budgets),
        **_judged(models, timed, rows, contests or {}, seed),
        **{"data": dataset.name, "n": found.look.images, "images_available": found.of},
        **_circumstances(rounds, size, moments),
    }


def _recorded(model: Opened, timed: _Timed | None, moments: Mapping[str, Moment]) -> dict[str, Any]:
    """What a row keeps of model and machine, so that it can be judged later."""
    source, kept = model.source, dict[str, Any]()
    if source is not None:
        kept["model_sha256"] = model_sha256(source.path)
        kept["options"] = options_record(source.options)
    if timed is not None:
        threads = source.options.threads if source and model.device == "cpu" else None
        kept |= row_stability(timed.latency.samples_ms, moments, threads)
    return kept


def _figures(
    rows: list[dict[str, Any]], found: Answered, dataset: Dataset, budgets: Budgets
) -> dict[str, Any]:
    """What was measured, and what the budgets say of it."""
    checked = [*found.budgets, *check_time_budgets(rows, budgets)]
    predictions = found.predictions
    by_name = dict(zip((row["name"] for row in rows), predictions, strict=True))
    return {
        "schema": SCHEMA,
        "baseline": rows[0]["name"],
        "rows": rows,
        "agreements": [[agreement(a, b).value for b in predictions] for a in predictions],
        "changed_images": changed_images(by_name, dataset, found.indices),
        "budgets": checked,
        **verdict_of(checked, strict=budgets.strict, rows=rows),
    }


def _circumstances(rounds: int, batch: int, moments: Mapping[str, Moment]) -> dict[str, Any]:
    """Rounds, batch size and machine of a comparison."""
    return {
        "rounds": rounds,
        "batch": batch,
        "note": integer_speed_note(),
        "environment": environment(),
        "board": {when: one.board.to_dict() for when, one in moments.items()},
    }


def common_batch(models: Sequence[Opened], wanted: int | None) -> int:
    """The batch size that all models are timed at.

    Args:
        models: opened.
        wanted: asked for; None: the smallest that all take.

    Raises:
        InputError: names the models that do not take it, and what they take.
    """
    ranges = [m.session.batch_sizes for m in models]
    size = wanted or max(smallest for smallest, _ in ranges)
    unfit = [
        f"{m.name} takes {low}" + (f" to {high}" if high != low else "")
        for m, (low, high) in zip(models, ranges, strict=True)
        if not low <= size <= high
    ]
    if unfit:
        raise InputError(
            f"these models cannot be timed at one batch size, {size}: {', '.join(unfit)}",
            "give a --batch that all of them take, or export them with a range, such as "
            "--batch 1:8:32.",
        )
    return size


def unique_names(names: Sequence[str]) -> list[str]:
    """Tell equal names apart by a number."""
    return [
        name if names.count(name) == 1 else f"{name}#{list(names[:i]).count(name) + 1}"
        for i, name in enumerate(names)
    ]


@dataclass(frozen=True)
class _Timed:
    """What timing one model gave."""

    latency: Latency
    load_ms: float | None
    first_ms: float | None


def _time(
    models: Sequence[Opened],
    rounds: int,
    batch: int,
    seed: int,
    on_block: Callable[[], object] | None,
) -> tuple[list[_Timed | None], dict[str, Moment]]:
    """For each model what was timed; None for one on an emulator, whose times say nothing.

    And the machine ``before`` and ``after``.
    """
    with ExitStack() as stack:
        contenders: dict[str, FreshModel | Here] = {}
        for index, model in enumerate(models):
            if model.emulated:
                continue
            if model.source is not None:
                contenders[str(index)] = stack.enter_context(
                    closing(FreshModel(model.source, batch))
                )
            else:
                images = noise(model.session, batch, pixels=model.embed_preprocess)
                contenders[str(index)] = Here(partial(model.session.run, images))
        pids = [one.pid for one in contenders.values() if isinstance(one, FreshModel) and one.pid]
        moments = {"before": moment(pids=pids)}
        latencies = take_turns(
            contenders, rounds, batch=batch, seed=seed, cold_runs=COLD_RUNS, on_block=on_block
        )
        moments["after"] = moment(pids=pids)
        timed: list[_Timed | None] = [None] * len(models)
        for place, one in contenders.items():
            # A model's own process has loaded it without another's libraries being there already.
            own = one if isinstance(one, FreshModel) else models[int(place)]
            timed[int(place)] = _Timed(latencies[place], own.load_ms, own.first_ms)
        return timed, moments


def _judged(
    models: Sequence[Opened],
    timed: Sequence[_Timed | None],
    rows: Sequence[dict[str, Any]],
    contests: Mapping[str, Sequence[int]],
    seed: int,
) -> dict[str, dict[str, FastestOfTarget]]:
    """For each contest what the times of its models say, which marks their rows; or nothing."""
    judged: dict[str, FastestOfTarget] = {}
    for name, indices in contests.items():
        latencies = {
            models[index].precision: one.latency
            for index in indices
            if (one := timed[index]) is not None
        }
        first = models[indices[0]]
        judged[name] = FastestOfTarget(
            **judge(latencies, seed=seed), target=first.target, device=first.device
        )
        for index in indices:
            rows[index]["fastest"] = models[index].precision == judged[name]["fastest"]
    return {"fastest": judged} if contests else {}


def _rows(
    models: Sequence[Opened],
    names: Sequence[str],
    found: Answered,
    timed: Sequence[_Timed | None],
    references: Sequence[int],
    seed: int,
) -> list[dict[str, Any]]:
    predictions, z = found.predictions, found.look.z
    return [
        {
            "name": names[index],
            **answers_row(model, predictions[index], predictions[0], models[0], z),
            **_timing(timed[index], timed[references[index]], seed),
            "emulated": model.emulated,
            "preprocess_ms": predictions[index].preprocess_ms,
            "speedup_against": names[references[index]],
        }
        for index, model in enumerate(models)
    ]


def _timing(own: _Timed | None, reference: _Timed | None, seed: int) -> dict[str, Any]:
    """A row's figures of time; all None for an emulator."""
    if own is None:
        keys = ("p50_ms", "p99_ms", "cold_p50_ms", "runs", "load_ms", "first_ms", "speedup")
        return dict.fromkeys(keys)
    figures = own.latency.to_dict()
    # In a comparison ``n`` is the number of images, as in `evaluate`.
    figures["runs"] = figures.pop("n")
    faster = None if reference is None else speedup(reference.latency, own.latency, seed=seed)
    return {
        **figures,
        "load_ms": own.load_ms,
        "first_ms": own.first_ms,
        "speedup": None if faster is None else faster.to_dict(),
        "speedup_note": None if faster is None else faster.note,
    }
