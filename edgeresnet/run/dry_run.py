"""What a run would do, found out without doing it: nothing is trained, decoded or written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.api.opening import load_checkpoint
from edgeresnet.device.data.dataset import Dataset, is_labelled
from edgeresnet.device.measure.compare import SCHEMA
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.files.ranks import this_rank
from edgeresnet.progress import OnStep, silent
from edgeresnet.results.plan import PlannedStage, PlanResults
from edgeresnet.run.export_checks import bundle_name, exported_precisions
from edgeresnet.run.folder import RECORDS, RUNS_DIR
from edgeresnet.run.preflight import TORCHVISION, Checked, check_run, fault_lines
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.settings.quantization import TRAINING, USUAL_CALIBRATION_IMAGES
from edgeresnet.settings.training import DEFAULT_ARCH, TrainOptions

if TYPE_CHECKING:
    from torchvision.models import ResNet


def plan_run(
    recipe: Recipe | str | Path,
    run_dir: str | Path | None = None,
    *,
    on_step: OnStep = silent,
) -> PlanResults:
    """Check a recipe as a run of it does, and say what each stage would do.

    Weights of torchvision are not fetched: their architecture is built in their place.

    Args:
        recipe: what to do; or its file, or a shipped recipe's name.
        run_dir: the run's folder, which need not exist; None: ``runs`` and the recipe's name.
        on_step: told what was assumed of a foreign checkpoint.

    Raises:
        InputError: a setting, the data or the weights are not usable.
        MissingError: what the run needs is not here.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, check=fault_lines)
    path = RUNS_DIR / recipe.name if run_dir is None else Path(run_dir)
    checked = check_run(recipe, path, RECORDS)
    planner = _Planner(recipe, checked, _outline(recipe, checked.train_set, on_step))
    return PlanResults(
        schema=SCHEMA,
        recipe=recipe.name,
        data=recipe.data,
        train_images=len(checked.train_set),
        val_images=len(checked.val_set),
        classes=len(checked.val_set.classes) if is_labelled(checked.val_set) else None,
        image_size=planner.network.image_size,
        arch=planner.network.arch,
        stages=[*planner.stages()],
        elsewhere=dict(checked.elsewhere),
    )


@dataclass(frozen=True)
class _Outline:
    """A network without memory, and the inputs that it takes."""

    arch: str
    image_size: int
    network: ResNet


def _outline(recipe: Recipe, train_set: Dataset, on_step: OnStep) -> _Outline:
    import torch

    from edgeresnet.host.models.resnet import build_resnet
    from edgeresnet.host.training.train_checkpoint import default_input_size, default_stem

    model = recipe.model
    if model.weights is not None and not model.weights.startswith(TORCHVISION):
        start = load_checkpoint(
            model.weights, arch=model.arch_told, image_size=recipe.image_size,
            inputs=recipe.inputs, raw=model.raw, network=model.network, on_step=on_step,
        )  # fmt: skip
        return _Outline(start.arch, start.input_spec.image_size, start.outline())
    published = model.weights is not None
    size = recipe.image_size or default_input_size(None if published else recipe.data)
    arch = _published_arch(model.weights) or model.arch or DEFAULT_ARCH
    stem = "imagenet" if published else model.stem or default_stem(size)
    with torch.device("meta"):
        network = build_resnet(arch, max(2, len(train_set.classes)), stem)
    return _Outline(arch, size, network)


def _published_arch(weights: str | None) -> str | None:
    """The architecture that ``torchvision:ARCH:WEIGHTS`` names."""
    parts = (weights or "").split(":")
    return parts[1] if len(parts) == 3 else None


@dataclass(frozen=True)
class _Planner:
    recipe: Recipe
    checked: Checked
    network: _Outline

    def stages(self) -> Iterator[PlannedStage]:
        """In the order of the run."""
        recipe = self.recipe
        yield self._first()
        if (prune := recipe.prune) is not None:
            budget = ", ".join(f"{name} {value}" for name, value in prune.budget().items())
            what = f"to {budget}, then {_epochs(prune.train)}"
            if prune.iterations > 1:
                what += f", {prune.iterations} times"
            yield self._training("02-prune", what, prune.train, times=prune.iterations)
        if any(map(is_quantized, recipe.export.precisions)):
            if recipe.prune is not None:
                yield self._stage(
                    "03-quantize-dense", "calibrates the dense network", self._calibrated()
                )
            yield self._quantize()
        for name in self._bundles():
            yield self._stage(f"04-export/{name}", "writes and proves a bundle", 0)
        n = min(len(self.checked.val_set), recipe.compare.limit or len(self.checked.val_set))
        yield self._stage("05-compare", self._compared(), n)

    def _first(self) -> PlannedStage:
        recipe = self.recipe
        begin = f"from {recipe.model.weights}" if recipe.model.weights else "from random weights"
        if recipe.train is None:
            return self._stage("01-train", f"takes {recipe.model.weights} as it is", 0)
        what = f"trains {self.network.arch} {begin}, {_epochs(recipe.train)}"
        return self._training("01-train", what, recipe.train)

    def _quantize(self) -> PlannedStage:
        options = self.recipe.quantize
        limits = options.limits(labelled=is_labelled(self.checked.val_set))
        budget = "".join(f", {name} {limit:g}" for name, limit in limits.items())
        what = f"method {options.method}{budget}"
        if options.trains:
            may = "" if options.method in TRAINING else " if no cheaper rung keeps it"
            train = options.train
            return self._training(
                "03-quantize", f"{what}; {_epochs(train)}{may}", train, quantized=True
            )
        return self._stage("03-quantize", what, self._calibrated())

    def _calibrated(self) -> int:
        wanted = self.recipe.quantize.calibration_images or USUAL_CALIBRATION_IMAGES
        return min(wanted, len(self.checked.train_set))

    def _bundles(self) -> Iterator[str]:
        """Names of the bundles, as the run gives them."""
        recipe = self.recipe
        for variant in [*(["dense-"] if recipe.prune is not None else []), ""]:
            for target in recipe.export.targets:
                for precision in exported_precisions(recipe, target, variant):
                    yield bundle_name(target, variant, precision)

    def _compared(self) -> str:
        settings, elsewhere = self.recipe.compare, self.checked.elsewhere
        left = f"; not measured here: {', '.join(elsewhere)}" if elsewhere else ""
        return f"all bundles, {settings.rounds} rounds of latency{left}"

    def _training(
        self,
        stage: str,
        what: str,
        options: TrainOptions,
        *,
        times: int = 1,
        quantized: bool = False,
    ) -> PlannedStage:
        from edgeresnet.host.training.batches import steps_of_epoch
        from edgeresnet.host.training.memory import images_bytes, training_bytes

        n = len(self.checked.train_set)
        steps = times * options.epochs * steps_of_epoch(n, options.batch_size)
        size = self.network.image_size
        count = this_rank().count
        taken = training_bytes(
            self.network.network, options, size, quantized=quantized, processes=count
        )
        planned = self._stage(stage, what, n)
        planned["steps"] = steps
        planned["memory_bytes"] = taken + images_bytes(n, options, size)
        return planned

    @staticmethod
    def _stage(stage: str, what: str, images: int) -> PlannedStage:
        return PlannedStage(stage=stage, what=what, images=images, steps=None, memory_bytes=None)


def _epochs(options: TrainOptions) -> str:
    plural = "" if options.epochs == 1 else "s"
    return f"{options.epochs} epoch{plural} of {options.precision}, {options.batch_size} a step"
