"""Float checkpoint to pruned float checkpoint: score, plan, cut, recover, once or repeatedly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor, get_num_threads

from edgeresnet.closing import temporary_folder
from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.dataset import Dataset, fingerprint
from edgeresnet.device.data.open import say_conversions
from edgeresnet.device.data.remembered import placed
from edgeresnet.device.machine.environment import versions
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from edgeresnet.host.models.layer_counts import LayerInfo, count_layers
from edgeresnet.host.models.sparsity_2_4 import PATTERN, apply_masks, pattern_masks
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.host.models.weights import weights_digest
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.pruning.criteria import CRITERIA, Evidence
from edgeresnet.host.pruning.cut_to_budget import Shaper
from edgeresnet.host.pruning.headless import NOT_RECOVERED, check_headless
from edgeresnet.host.pruning.scoring import Bench, weights_of
from edgeresnet.host.training.fit import fit
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.host.training.step import TrainHooks
from edgeresnet.progress import OnFigures, OnStep, TaskContext
from edgeresnet.results.made import PruneResults
from edgeresnet.settings.pruning import PruneOptions


@within_quota()
def prune_checkpoint(
    checkpoint: Checkpoint, options: PruneOptions, *, context: TaskContext
) -> tuple[Checkpoint, PruneResults]:
    """Prune a float checkpoint and win its accuracy back.

    One without a classifier is cut by its weights alone and not recovered; what is told of top-1 is
    of nearest neighbours, and None where the images have no labels, which will do then.

    Args:
        checkpoint: of any origin, precision fp32; may be pruned already.
        options: budget and all settings.
        context: data (else what the checkpoint remembers): the training split scores and recovers,
            the validation split measures. ``resume_path`` is a folder that keeps what is cut but
            not yet recovered, so that an interrupted pruning goes on.

    Raises:
        InputError: the checkpoint is quantized, data and checkpoint do not fit, the budget cannot
            be met or leaves nothing to prune, or an option needs a classifier that is not there.
        CheckError: training diverged.
    """
    if checkpoint.precision != "fp32":
        raise InputError(
            f"the checkpoint is quantized ({checkpoint.precision}), and pruning comes first",
            "give the float checkpoint that it was made of, and quantize afterwards.",
        )
    headless = not checkpoint.classes
    if headless:
        check_headless(options)
    checkpoint, train_set, val_set = open_splits_for(checkpoint, context, unlabelled=headless)
    bench = Bench.of(checkpoint, train_set, val_set, options.images, options.seed)
    context.on_step(f"measuring the dense network on {len(val_set)} images")
    top1_dense = bench.top1(checkpoint.build())
    with ExitStack() as stack:
        folder = context.resume_path or Path(stack.enter_context(temporary_folder()))
        work = _Work(
            checkpoint, bench, val_set, options, folder, context.progress, context.on_step,
            context.on_figures,
        )  # fmt: skip
        pruned, reached = work.sparse() if options.pattern else work.narrow()
    figures = {
        "criterion": options.criterion,
        "budget": options.budget(),
        "top1_dense": top1_dense,
        **reached,
        "drop": None if top1_dense is None else top1_dense - reached["top1"],
        **_before_after(checkpoint, pruned),
        "images": len(bench.scoring),
        "conversions": say_conversions([train_set, val_set], context.on_step),
        "data": placed(context.data or checkpoint.data),
        "data_fingerprint": fingerprint(train_set),
        "seed": options.seed,
        "pruned_with": versions(),
    }
    provenance = {**checkpoint.provenance, "pruning": figures}
    return replace(pruned, provenance=provenance), cast(PruneResults, figures)


@dataclass(frozen=True, eq=False)
class _Work:
    """One pruning under way."""

    dense: Checkpoint
    bench: Bench
    val_set: Dataset
    options: PruneOptions
    work_dir: Path
    progress: bool
    on_step: OnStep
    on_figures: OnFigures

    def _key(self, iteration: int) -> str:
        """What must be the same for an iteration to go on."""
        return f"prune {iteration} {self.options} {weights_digest(self.dense.state_dict)}"

    def narrow(self) -> tuple[Checkpoint, dict[str, Any]]:
        """Structured: fewer channels, in one go or in ``iterations``."""
        current, reached = self.dense, dict[str, Any]()
        with ExitStack() as stack:
            # What is measured is measured once: of several processes by the first.
            shapers: list[Shaper] = []
            processes().by_first(
                lambda: shapers.append(
                    stack.enter_context(Shaper(self.dense, self.options, self.on_step))
                )
            )
            for iteration in range(1, self.options.iterations + 1):
                cut, figures = self._cut(shapers, current, iteration)
                current, recovered = self._recover(cut, iteration, masks=None)
                reached = {**reached, **figures, **recovered}
        return current, reached

    def _cut(
        self, shapers: Sequence[Shaper], current: Checkpoint, iteration: int
    ) -> tuple[Checkpoint, dict[str, Any]]:
        """The network after this iteration's cut, made once and then kept.

        Args:
            shapers: one; none in a process that is not the first.
            current: the network that is cut.
            iteration: from 1 on.
        """
        options, bench, first = self.options, self.bench, processes().by_first
        path = self.work_dir / f"cut-{iteration}.pt"
        key = first(lambda: self._cut_key(current, iteration))
        kept = first(lambda: self._kept(path))
        if kept is not None and kept.provenance.get("cut_key") == key:
            self.on_step(f"the cut of iteration {iteration} was made before")
            return kept, kept.provenance["cut_figures"]
        self.on_step(f"scoring channels on {len(bench.scoring)} images ({options.criterion})")
        names = [*CRITERIA] if options.compare_criteria and iteration == 1 else [options.criterion]
        evidence = bench.evidence(
            current, options.seed, gradients=any(CRITERIA[name].of_loss for name in names)
        )
        shape = first(lambda: shapers[0].shape(current, evidence, iteration))
        cut = bench.renormalized(shape.checkpoint)
        before = bench.top1(cut.build())
        figures = {**shape.figures, "cost_share": shape.share, "step": shape.step}
        figures |= {"top1_before_recovery": before} if iteration == 1 else {}
        self.on_step(f"cut to {shape.share:.3f} of the cost{_told(before)}")
        if len(names) > 1:
            figures["criteria_before_recovery"] = self._by_criterion(
                shapers, current, evidence, names, shape.share
            )
        made = replace(cut, provenance={"cut_key": key, "cut_figures": figures})
        first(lambda: save_checkpoint(made, path))
        return made, figures

    def _cut_key(self, current: Checkpoint, iteration: int) -> str:
        """What must be the same for a cut to be kept."""
        # The network that is cut, too: from the second iteration on it is not the dense one.
        source = weights_digest(current.state_dict)
        data = [content_fingerprint(d) for d in (self.bench.train_set, self.val_set)]
        return f"{self._key(iteration)} {source} {current.input_spec.to_dict()} {data}"

    def _kept(self, path: Path) -> Checkpoint | None:
        """A cut that an interrupted pruning has left; None where there is none that is whole."""
        if not path.is_file():
            return None
        try:
            return load_checkpoint(path)
        except InputError as error:
            self.on_step(f"{error.cause}: cutting anew")
            return None

    def _by_criterion(
        self,
        shapers: Sequence[Shaper],
        current: Checkpoint,
        evidence: Evidence,
        names: Sequence[str],
        share: float,
    ) -> dict[str, float]:
        """Top-1 that each criterion would leave at the same cost, before recovery."""
        left = {}
        for name in names:
            cut = processes().by_first(partial(_at_share, shapers, current, evidence, name, share))
            left[name] = cast(float, self.bench.top1(self.bench.renormalized(cut).build()))
        listed = ", ".join(f"{name} {top1:.4f}" for name, top1 in left.items())
        self.on_step(f"top-1 before recovery by criterion: {listed}")
        return left

    def sparse(self) -> tuple[Checkpoint, dict[str, Any]]:
        """2:4: half the weights become zero."""
        options, bench = self.options, self.bench
        model = self.dense.build().to(bench.device)
        if options.criterion == "taylor":
            scores = bench.weight_scores(model)
        else:
            kernels = {n: w for n, w in weights_of(model).items() if w.ndim in (2, 4)}
            scores = {name: weight.abs() for name, weight in kernels.items()}
        masks = pattern_masks(scores)
        apply_masks(model, masks)
        cut = bench.renormalized(replace(self.dense, state_dict=weights_of(model)))
        before = bench.top1(cut.build())
        self.on_step(f"{len(masks)} layers made {PATTERN} sparse{_told(before)}")
        current, recovered = self._recover(cut, 1, masks)
        return current, {
            "pattern": PATTERN,
            "sparse_layers": len(masks),
            "top1_before_recovery": before,
            **recovered,
        }

    def _recover(
        self, cut: Checkpoint, iteration: int, masks: dict[str, Tensor] | None
    ) -> tuple[Checkpoint, dict[str, Any]]:
        """The cut network trained, its ``top1`` and the ``threads`` that trained it."""
        model = cut.build()
        if not cut.classes:
            self.on_step(NOT_RECOVERED)
            unrecovered = replace(cut, provenance=self.dense.provenance)
            return unrecovered, {"top1": self.bench.top1(model), "threads": get_num_threads()}
        train = replace(self.options.train, seed=self.options.seed)
        result = fit(
            model,
            self.bench.train_set,
            self.val_set,
            cut.input_spec,
            train,
            hooks=TrainHooks(
                teacher=self.dense.build() if train.distill > 0 else None,
                constrain=None if masks is None else lambda network: apply_masks(network, masks),
                on_figures=partial(self.on_figures, f"recovery-{iteration}"),
            ),
            resume_path=self.work_dir / f"recover-{iteration}.pt",
            resume_key=f"{self._key(iteration)} {weights_digest(cut.state_dict)}",
            progress=self.progress,
        )
        recovered = replace(cut, state_dict=result.state_dict, provenance=self.dense.provenance)
        self.on_step(f"recovered to top-1 {result.top1:.4f}")
        return recovered, {"top1": result.top1, "threads": result.threads}


def _told(top1: float | None) -> str:
    return "" if top1 is None else f": top-1 {top1:.4f}"


def _at_share(
    shapers: Sequence[Shaper], current: Checkpoint, evidence: Evidence, name: str, share: float
) -> Checkpoint:
    return shapers[0].at_share(current, evidence, name, share)


def _before_after(dense: Checkpoint, pruned: Checkpoint) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for when, checkpoint in (("before", dense), ("after", pruned)):
        layers: list[LayerInfo] = count_layers(checkpoint.build(), checkpoint.input_spec.image_size)
        figures[f"macs_{when}"] = sum(layer.macs for layer in layers)
        figures[f"parameters_{when}"] = sum(layer.parameters for layer in layers)
        figures[f"widths_{when}"] = checkpoint.widths.to_dict()
    return figures
