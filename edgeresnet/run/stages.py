"""The stages of a run: each reads the file of the stage before and writes its own, once.

A stage's outputs are written whole or not at all, and then its record, ``.stages/NAME.json``,
with a key made of its settings, the contents of its data and weights, and the key of the stage
before, and with its outputs' hashes. A stage whose record has the right key, and whose outputs are
whole, is not run again; a changed recipe so reruns what it touches, and what follows. No path is in
a key: files may move.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgeresnet.api.export import export
from edgeresnet.api.prune import prune
from edgeresnet.api.together import by_first
from edgeresnet.api.train import take_checkpoint, train
from edgeresnet.device.data.class_names import read_class_names
from edgeresnet.device.machine.privacy import write_result
from edgeresnet.device.machine.saturation import saturates_on
from edgeresnet.device.targets.export_support import may_saturate
from edgeresnet.errors import InputError
from edgeresnet.files.places import from_home
from edgeresnet.files.ranks import is_first
from edgeresnet.progress import OnFigures, OnStep, TaskContext, duration, unseen
from edgeresnet.run.folder import RECORDS, RESUME, WORK
from edgeresnet.run.making import Making
from edgeresnet.run.recipe import Recipe
from edgeresnet.run.stage_record import REPORT, set_aside, stand, why_not_standing
from edgeresnet.settings.export import BatchRange, ExportOptions
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions

# Raise a stage's number when the same settings, data and weights give another result than before,
# so that an upgrade brings the new one: a mended fault, another default inside, another format.
# All that follows reruns by itself. What only makes it faster or says more leaves the number alone.
STAGE_VERSIONS = {"01-train": 1, "02-prune": 1, "03-quantize": 2, "04-export": 1}
# The same for what begins with weights, whoever made them, and for nothing else. 2: moving averages
# are taken, biases of convolutions are folded, and what a file or torchvision says of the input is
# used. 3: under every known key, resize and channels too. 4: where timm's and Hugging Face's
# configurations leave something out, their defaults, as Detectron2's and Keras's; one mean for all
# channels.
WEIGHTS_READING = 4
# And for a budget of parameters. 2: those of the normalization are counted as they are.
PARAMETERS_COUNTING = 2


@dataclass(frozen=True)
class Run:
    """A run's folder and how it talks; bundles say where they were made if ``record_host``."""

    path: Path
    recipe: Recipe
    progress: bool
    on_step: OnStep
    record_host: bool = False
    on_figures: OnFigures = unseen

    def context(self, resume_path: Path | None = None) -> TaskContext:
        """What each stage's task is given."""
        recipe = self.recipe
        return TaskContext(
            data=recipe.data,
            limit=recipe.limit,
            skip_broken=recipe.skip_broken,
            progress=self.progress,
            on_step=self.on_step,
            on_figures=self.on_figures,
            resume_path=resume_path,
        )

    def stage(self, name: str, settings: Any, output: Path, work: Callable[[], object]) -> str:
        """Run one stage unless it stands already; of several processes all call this.

        Args:
            name: of the stage; its record's too.
            settings: all that decides the outcome, the key of the stage before included; plain
                values, and contents instead of paths.
            output: what must exist for the stage to stand.
            work: writes ``output``.

        Returns:
            The stage's key.
        """
        version = next(v for stage, v in STAGE_VERSIONS.items() if name.startswith(stage))
        making = Making(name, version, settings)
        key = making.key
        record_path = self.path / RECORDS / f"{name}.json"
        doubt = by_first(lambda: why_not_standing(record_path, key, self.path, output))
        if doubt is None:
            self.on_step(making.kept_line(record_path))
            return key
        by_first(lambda: self._clear(making, record_path, output, doubt))
        self.on_step(f"{name}: running")
        start = time.monotonic()
        with ExitStack() as stack:
            if is_first():
                kept = making.failure_kept(record_path, self.on_step, record_host=self.record_host)
                stack.enter_context(kept)
            work()
            seconds = time.monotonic() - start
            by_first(lambda: stand(record_path, making.record(seconds), self.path, output))
        self.on_step(f"{name}: done in {duration(seconds)}")
        return key

    def _clear(self, making: Making, record_path: Path, output: Path, doubt: str) -> None:
        """Say why a stage is run again, and make room for what it writes."""
        for line in making.redone_lines(record_path, output, doubt):
            self.on_step(line)
        if doubt:
            set_aside(output, self.on_step)
        record_path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Stage:
    """A finished stage: what it wrote, and its key."""

    path: Path
    key: str


@dataclass(frozen=True)
class Variant:
    """A float network to quantize and export; its bundles have ``name`` in theirs."""

    name: str
    source: Stage
    quantize: QuantizeOptions


def train_stage(run: Run, data_key: list[str]) -> Stage:
    """01-train: a trained float checkpoint, or the one that the recipe begins with."""
    recipe = run.recipe
    path, weights = run.path / "01-train" / "checkpoint.pt", recipe.model.weights
    settings: dict[str, Any] = {
        "model": {**recipe.model.to_dict(), "weights": weights and _weights_key(weights)},
        "train": recipe.train and recipe.train.to_dict(),
        "image_size": recipe.image_size,
        "limit": recipe.limit,
        "data": data_key,
    }
    settings |= _told_key(recipe)

    def work() -> None:
        if recipe.train is None:
            classes = from_home(recipe.classes) if recipe.classes else None
            named = replace(run.context(), class_order=recipe.class_order, classes_path=classes)
            taken = partial(
                take_checkpoint,
                path,
                str(weights),
                arch=recipe.model.arch_told,
                image_size=recipe.image_size,
                inputs=recipe.inputs,
                raw=recipe.model.raw,
                network=recipe.model.network,
                context=named,
                on_step=run.on_step,
            )
            by_first(taken)
        else:
            train(
                path,
                recipe.model,
                recipe.train,
                image_size=recipe.image_size,
                inputs=recipe.inputs,
                context=run.context(path.with_name(RESUME)),
            )

    return Stage(path, run.stage("01-train", settings, path, work))


def _told_key(recipe: Recipe) -> dict[str, Any]:
    """What is said of classes and inputs; only what is given, so that older runs stand."""
    key: dict[str, Any] = {"inputs": recipe.inputs.given} if recipe.inputs.given else {}
    if recipe.class_order is not None:
        key["class_order"] = recipe.class_order
    if recipe.classes is not None:
        key["classes"] = list(read_class_names(from_home(recipe.classes)))
    return key


def prune_stage(run: Run, options: PruneOptions, before: Stage) -> Stage:
    """02-prune: a narrower float checkpoint, recovered."""
    path = run.path / "02-prune" / "checkpoint.pt"

    def work() -> None:
        figures = prune(before.path, path, options, context=run.context(path.with_name(WORK)))
        by_first(lambda: write_result(figures, path.with_name(REPORT)))

    settings: dict[str, Any] = {
        "before": before.key,
        "prune": {**asdict(options), "train": options.train.to_dict()},
    }
    if options.parameters is not None:
        settings["counting"] = PARAMETERS_COUNTING
    return Stage(path, run.stage("02-prune", settings, path, work))


def export_stage(run: Run, name: str, target: str, precision: str, source: Stage) -> Path:
    """04-export: a proven bundle of that name."""
    recipe = run.recipe
    out_dir = run.path / "04-export" / name
    for_device = None
    if recipe.export.for_device is not None and may_saturate(target, precision):
        for_device = from_home(recipe.export.for_device)

    def work() -> None:
        options = ExportOptions(
            batch=BatchRange.parse(recipe.export.batch),
            embed_preprocess=recipe.export.embed_preprocess,
            features=recipe.export.features,
            logits=recipe.export.logits,
            record_host=run.record_host,
        )
        export(
            source.path,
            out_dir,
            target=target,
            precision=precision,
            options=options,
            for_device=for_device,
            context=run.context(),
        )

    exported = recipe.export.to_dict()
    # What decides is what the file says, wherever it lies.
    del exported["for_device"]
    if for_device is not None:
        exported["saturates"] = saturates_on(for_device)
    settings: dict[str, Any] = {"before": source.key, "export": exported, "of": [target, precision]}
    if run.record_host:
        settings["record_host"] = True
    run.stage(f"04-export-{name}", settings, out_dir, work)
    return out_dir


def _weights_key(weights: str) -> str:
    """What is in the weights (a file's hash; torchvision's have their name), and how it is read."""
    if weights.startswith("torchvision:"):
        return f"{weights} read {WEIGHTS_READING}"
    from edgeresnet.files.hashes import sha256_file
    from edgeresnet.host.models.foreign.class_facts import LISTS
    from edgeresnet.host.models.foreign.said import CONFIG, PREPROCESSOR

    path = from_home(weights)
    if not path.is_file():
        raise InputError(f"weights {weights} do not exist", "check the recipe's model.weights.")
    # What lies beside a foreign file says how its images are made, and its classes.
    beside = [path.with_name(name) for name in (CONFIG, PREPROCESSOR, *LISTS)]
    hashes = " ".join(sha256_file(one) for one in (path, *beside) if one.is_file())
    return f"{hashes} read {WEIGHTS_READING}"
