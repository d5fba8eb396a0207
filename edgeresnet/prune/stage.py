"""Float checkpoint to pruned float checkpoint: score, plan, cut, recover, once or repeatedly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeresnet.augment import Normalizer, load_pixels
from edgeresnet.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.dataset import (
    Dataset,
    balanced_subset,
    check_classes,
    fingerprint,
    open_dataset,
)
from edgeresnet.device import versions
from edgeresnet.errors import InputError
from edgeresnet.loop import EvaluationSet, evaluate, training_device
from edgeresnet.model import LayerInfo, count_layers
from edgeresnet.options import PruneOptions
from edgeresnet.prune.criteria import CRITERIA, Evidence
from edgeresnet.prune.gradients import gate_gradients
from edgeresnet.prune.shaping import Shape, Shaper
from edgeresnet.sparsity import PATTERN, apply_masks, pattern_masks
from edgeresnet.train import fit

SCORING_BATCH = 64


@dataclass(frozen=True, eq=False)
class _Bench:
    """What a network is scored and judged on."""

    train_set: Dataset
    scoring: Tensor
    labels: Tensor
    validation: EvaluationSet
    normalize: Normalizer
    device: torch.device

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, train_set: Dataset, val_set: Dataset, n: int, seed: int
    ) -> _Bench:
        device = training_device()
        chosen = balanced_subset(train_set, n, seed)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(chosen)))
        labels = torch.from_numpy(np.asarray(chosen.labels, np.int64))
        spec = checkpoint.input_spec
        return cls(
            train_set,
            load_pixels(chosen, spec)[order],
            labels[order],
            EvaluationSet(val_set, spec),
            Normalizer(spec, device),
            device,
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (n, 3, H, W) float32 and labels, on the device."""
        pixel_parts = torch.split(self.scoring, SCORING_BATCH)
        label_parts = torch.split(self.labels, SCORING_BATCH)
        for pixels, labels in zip(pixel_parts, label_parts, strict=True):
            yield self.normalize(pixels.to(self.device)), labels.to(self.device)

    def top1(self, model: nn.Module) -> float:
        """Of the validation images."""
        logits = evaluate(model.to(self.device), self.validation, self.device)
        return float((logits.argmax(1) == self.validation.labels).mean())

    def evidence(self, checkpoint: Checkpoint, seed: int, *, gradients: bool) -> Evidence:
        """What the criteria look at."""
        gates: dict[str, Tensor] = {}
        if gradients:
            gates = gate_gradients(checkpoint.build().to(self.device), self.batches())
        return Evidence(checkpoint.state_dict, gates, seed)

    def renormalized(self, checkpoint: Checkpoint) -> Checkpoint:
        """With the statistics that its narrower layers really have."""
        model = checkpoint.build().to(self.device)
        images = [images for images, _ in self.batches()]
        torch.optim.swa_utils.update_bn(images, model, self.device)
        return replace(checkpoint, state_dict=_weights(model))


def prune_checkpoint(
    checkpoint: Checkpoint,
    *,
    data: str,
    options: PruneOptions,
    work_dir: Path,
    limit: int | None = None,
    skip_broken: bool = False,
    progress: bool = True,
    on_step: Callable[[str], object] = lambda text: None,
) -> tuple[Checkpoint, dict[str, Any]]:
    """Prune a float checkpoint and win its accuracy back.

    Args:
        checkpoint: of any origin, precision fp32; may be pruned already.
        data: DATA SPEC; the training split scores and recovers, the validation split measures.
        options: budget and all settings.
        work_dir: keeps what is cut but not yet recovered, so that an interrupted run goes on; the
            caller removes it when the result is safe.
        limit: images of each split.
        skip_broken: leave unreadable images out.
        progress: report training on stderr.
        on_step: told what is being done.

    Returns:
        The pruned checkpoint and its figures: ``top1_dense``, ``top1_before_recovery``, ``top1``,
        ``macs`` and ``parameters`` and ``widths`` before and after, and more.

    Raises:
        InputError: the checkpoint is quantized, data and checkpoint do not fit, or the budget
            cannot be met or leaves nothing to prune.
        CheckError: training diverged.
    """
    if checkpoint.precision != "fp32":
        raise InputError(
            f"the checkpoint is quantized ({checkpoint.precision}), and pruning comes first",
            "give the float checkpoint that it was made of, and quantize afterwards.",
        )
    train_set = open_dataset(data, "train", limit=limit, skip_broken=skip_broken)
    val_set = open_dataset(data, "val", limit=limit, skip_broken=skip_broken)
    check_classes(train_set, checkpoint.classes)
    if checkpoint.data is None:
        checkpoint = replace(checkpoint, classes=tuple(train_set.classes), data=data)
    bench = _Bench.of(checkpoint, train_set, val_set, options.images, options.seed)
    on_step(f"measuring the dense network on {len(val_set)} images")
    work = _Work(checkpoint, bench, val_set, options, work_dir, progress, on_step)
    top1_dense = bench.top1(checkpoint.build())
    pruned, found = work.sparse() if options.pattern else work.narrow()
    figures = {
        "criterion": options.criterion,
        "budget": options.budget(),
        "top1_dense": top1_dense,
        **found,
        "drop": top1_dense - found["top1"],
        **_before_after(checkpoint, pruned),
        "images": len(bench.scoring),
        "data": data,
        "data_fingerprint": fingerprint(train_set),
        "seed": options.seed,
        "pruned_with": versions(),
    }
    provenance = {**checkpoint.provenance, "pruning": figures}
    return replace(pruned, provenance=provenance), figures


@dataclass(frozen=True, eq=False)
class _Work:
    """One pruning under way."""

    dense: Checkpoint
    bench: _Bench
    val_set: Dataset
    options: PruneOptions
    work_dir: Path
    progress: bool
    on_step: Callable[[str], object]

    def narrow(self) -> tuple[Checkpoint, dict[str, Any]]:
        """Structured: fewer channels, in one go or in ``iterations``."""
        current, found = self.dense, dict[str, Any]()
        with Shaper(self.dense, self.options, self.on_step) as shaper:
            for iteration in range(1, self.options.iterations + 1):
                cut, figures = self._cut(shaper, current, iteration)
                current, top1 = self._recover(cut, iteration, masks=None)
                found = {**found, **figures, "top1": top1}
                self.on_step(f"recovered to top-1 {top1:.4f}")
        return current, found

    def _cut(
        self, shaper: Shaper, current: Checkpoint, iteration: int
    ) -> tuple[Checkpoint, dict[str, Any]]:
        """The network after this iteration's cut, made once and then kept."""
        options, bench = self.options, self.bench
        path = self.work_dir / f"cut-{iteration}.pt"
        key = f"{options} {iteration} {fingerprint(bench.train_set)}"
        if path.is_file():
            kept = load_checkpoint(path)
            if kept.provenance.get("cut_key") == key:
                self.on_step(f"the cut of iteration {iteration} was made before")
                return kept, kept.provenance["cut_figures"]
        self.on_step(f"scoring channels on {len(bench.scoring)} images ({options.criterion})")
        first = iteration == 1
        names = [*CRITERIA] if options.compare_criteria and first else [options.criterion]
        evidence = bench.evidence(
            current, options.seed, gradients=any(CRITERIA[name].of_loss for name in names)
        )
        shape: Shape = shaper.shape(current, evidence, iteration)
        cut = bench.renormalized(shape.checkpoint)
        before = bench.top1(cut.build())
        figures = {**shape.figures, "cost_share": shape.share, "step": shaper.step}
        figures |= {"top1_before_recovery": before} if first else {}
        self.on_step(f"cut to {shape.share:.3f} of the cost: top-1 {before:.4f}")
        if len(names) > 1:
            others = {
                name: bench.top1(
                    bench.renormalized(
                        shaper.at_share(current, evidence, name, shape.share)
                    ).build()
                )
                for name in names
            }
            figures["criteria_before_recovery"] = others
            listed = ", ".join(f"{name} {top1:.4f}" for name, top1 in others.items())
            self.on_step(f"top-1 before recovery by criterion: {listed}")
        kept = replace(cut, provenance={"cut_key": key, "cut_figures": figures})
        save_checkpoint(kept, path)
        return kept, figures

    def sparse(self) -> tuple[Checkpoint, dict[str, Any]]:
        """2:4: half the weights become zero."""
        options, bench = self.options, self.bench
        model = self.dense.build().to(bench.device)
        weights = {n: p for n, p in model.named_parameters() if p.ndim in (2, 4)}
        if options.criterion == "taylor":
            scores = _weight_scores(model, weights, bench)
        else:
            scores = {name: weight.detach().abs().cpu() for name, weight in weights.items()}
        masks = pattern_masks(scores)
        apply_masks(model, masks)
        cut = bench.renormalized(replace(self.dense, state_dict=_weights(model)))
        before = bench.top1(cut.build())
        self.on_step(f"{len(masks)} layers made {PATTERN} sparse: top-1 {before:.4f}")
        current, top1 = self._recover(cut, 1, masks)
        return current, {
            "pattern": PATTERN,
            "sparse_layers": len(masks),
            "top1_before_recovery": before,
            "top1": top1,
        }

    def _recover(
        self, cut: Checkpoint, iteration: int, masks: dict[str, Tensor] | None
    ) -> tuple[Checkpoint, float]:
        train = replace(self.options.train, seed=self.options.seed)
        model = cut.build()
        result = fit(
            model,
            self.bench.train_set,
            self.val_set,
            cut.input_spec,
            train,
            teacher=self.dense.build() if train.distill > 0 else None,
            resume_path=self.work_dir / f"recover-{iteration}.pt",
            resume_key=f"prune {iteration} {self.options}",
            progress=self.progress,
            constrain=None if masks is None else lambda network: apply_masks(network, masks),
        )
        recovered = replace(cut, state_dict=result.state_dict, provenance=self.dense.provenance)
        return recovered, result.top1


def _weight_scores(
    model: nn.Module, weights: dict[str, nn.Parameter], bench: _Bench
) -> dict[str, Tensor]:
    """Squared first-order change of the loss for each weight, summed over batches."""
    model.eval().requires_grad_(True)
    scores = {name: torch.zeros_like(weight, device="cpu") for name, weight in weights.items()}
    for images, labels in bench.batches():
        loss = nn.functional.cross_entropy(model(images), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            scores[name] += (gradient * weight).detach().square().cpu()
    return scores


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


def _before_after(dense: Checkpoint, pruned: Checkpoint) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for when, checkpoint in (("before", dense), ("after", pruned)):
        layers: list[LayerInfo] = count_layers(checkpoint.build(), checkpoint.input_spec.image_size)
        found[f"macs_{when}"] = sum(layer.macs for layer in layers)
        found[f"parameters_{when}"] = sum(layer.parameters for layer in layers)
        found[f"widths_{when}"] = checkpoint.widths.to_dict()
    return found
