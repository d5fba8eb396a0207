"""Runs a recipe: train, quantize, export, compare; goes on from the last finished stage.

A stage's outputs are written whole or not at all, and then its record, ``.stages/NAME.json``,
with a key made of its settings, its data and the key of the stage before. A stage whose record
has the right key is not run again; a changed recipe so reruns what it touches, and what follows.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet import __version__
from edgeresnet.bundle import BatchRange
from edgeresnet.compare import compare
from edgeresnet.dataset import fingerprint, open_dataset
from edgeresnet.errors import InputError
from edgeresnet.opening import open_model
from edgeresnet.progress import duration, images_progress
from edgeresnet.recipe import Recipe
from edgeresnet.report.results import write_json
from edgeresnet.targets.protocol import RunOptions

if TYPE_CHECKING:
    from edgeresnet.checkpoint import Checkpoint

RESULTS = "results.json"
RECORDS = ".stages"
Say = Callable[[str], object]


@dataclass(frozen=True)
class _Run:
    """A run's folder and how it talks."""

    path: Path
    recipe: Recipe
    progress: bool
    say: Say

    def stage(self, name: str, settings: Any, output: Path, work: Callable[[], object]) -> str:
        """Run one stage unless it stands already.

        Args:
            name: of the stage; its record's too.
            settings: all that decides the outcome, the key of the stage before included.
            output: what must exist for the stage to stand.
            work: writes ``output``.

        Returns:
            The stage's key.
        """
        text = json.dumps([name, __version__, settings], sort_keys=True, default=str)
        key = hashlib.sha256(text.encode()).hexdigest()
        record_path = self.path / RECORDS / f"{name}.json"
        if output.exists() and _recorded_key(record_path) == key:
            self.say(f"{name}: done before")
            return key
        record_path.unlink(missing_ok=True)
        self.say(f"{name}: running")
        start = time.monotonic()
        work()
        seconds = time.monotonic() - start
        record_path.parent.mkdir(parents=True, exist_ok=True)
        record = {"stage": name, "key": key, "seconds": seconds}
        write_json(record, record_path)
        self.say(f"{name}: done in {duration(seconds)}")
        return key


def run_recipe(
    recipe: Recipe,
    run_dir: Path,
    *,
    fresh: bool = False,
    progress: bool = True,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Run every stage of a recipe that does not stand yet.

    Args:
        recipe: what to do.
        run_dir: the run's folder; made if need be.
        fresh: run every stage again.
        progress: report long work on stderr.
        say: told what is being done.

    Returns:
        The results of the comparison, as `edgeresnet.compare.compare` describes them; also in
        ``results.json``.

    Raises:
        InputError: the recipe's data or weights are not usable, or the folder is something else.
    """
    if run_dir.exists() and not (run_dir / RECORDS).is_dir() and any(run_dir.iterdir()):
        raise InputError(f"{run_dir} exists and is not a run", "give another -o folder.")
    # What is not there or not usable should be known before hours of work.
    train_set = open_dataset(recipe.data, "train", limit=recipe.limit)
    val_set = open_dataset(recipe.data, "val", limit=recipe.compare.limit)
    data_key = [recipe.data, fingerprint(train_set), fingerprint(val_set)]
    (run_dir / RECORDS).mkdir(parents=True, exist_ok=True)
    if fresh:
        for record in (run_dir / RECORDS).iterdir():
            record.unlink()
        for resume in run_dir.glob("*/resume.pt"):
            resume.unlink()
    run = _Run(run_dir, recipe, progress, say)
    float_path, float_key = _train(run, data_key)
    int8_path, int8_key = float_path, float_key
    if "int8" in recipe.export.precisions:
        int8_path, int8_key = _quantize(run, float_path, float_key)
    bundles = []
    for target in recipe.export.targets:
        for precision in recipe.export.precisions:
            path, key = (int8_path, int8_key) if precision == "int8" else (float_path, float_key)
            bundles.append(_export(run, target, precision, path, key))
    return _compare(run, bundles)


def _train(run: _Run, data_key: list[str]) -> tuple[Path, str]:
    recipe = run.recipe
    path = run.path / "01-train" / "checkpoint.pt"
    weights = recipe.model.weights
    weights_key = None
    if weights is not None and Path(weights).is_file():
        from edgeresnet.checkpoint import sha256_file

        weights_key = sha256_file(Path(weights))
    settings = {
        "model": asdict(recipe.model),
        "weights": weights_key,
        "train": recipe.train and recipe.train.to_dict(),
        "image_size": recipe.image_size,
        "limit": recipe.limit,
        "data": data_key,
    }
    resume_path = path.with_name("resume.pt")

    def work() -> None:
        from edgeresnet.checkpoint import load_checkpoint, save_checkpoint
        from edgeresnet.training import train_checkpoint

        checkpoint: Checkpoint
        if recipe.train is None:
            checkpoint = load_checkpoint(
                str(weights), arch=recipe.model.arch, image_size=recipe.image_size
            )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint, _ = train_checkpoint(
                data=recipe.data,
                arch=recipe.model.arch,
                stem=recipe.model.stem,
                image_size=recipe.image_size,
                weights=weights,
                options=recipe.train,
                limit=recipe.limit,
                skip_broken=recipe.skip_broken,
                resume_path=resume_path,
                progress=run.progress,
            )
        save_checkpoint(checkpoint, path)
        resume_path.unlink(missing_ok=True)

    return path, run.stage("01-train", settings, path, work)


def _quantize(run: _Run, float_path: Path, float_key: str) -> tuple[Path, str]:
    recipe = run.recipe
    path = run.path / "02-quantize" / "checkpoint.pt"
    resume_path = path.with_name("resume.pt")

    def work() -> None:
        from edgeresnet.checkpoint import load_checkpoint, save_checkpoint
        from edgeresnet.quantize import quantize_checkpoint

        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint, figures = quantize_checkpoint(
            load_checkpoint(float_path),
            data=recipe.data,
            options=recipe.quantize,
            limit=recipe.limit,
            skip_broken=recipe.skip_broken,
            resume_path=resume_path,
            progress=run.progress,
            on_step=run.say,
        )
        save_checkpoint(checkpoint, path)
        write_json(figures, path.with_name("report.json"))
        resume_path.unlink(missing_ok=True)

    settings = {"before": float_key, "quantize": asdict(recipe.quantize)}
    return path, run.stage("02-quantize", settings, path, work)


def _export(run: _Run, target: str, precision: str, checkpoint_path: Path, key: str) -> Path:
    recipe = run.recipe
    out_dir = run.path / "03-export" / f"{target}-{precision}"

    def work() -> None:
        from edgeresnet.checkpoint import load_checkpoint
        from edgeresnet.export import ExportOptions, export_bundle

        export_bundle(
            load_checkpoint(checkpoint_path),
            target=target,
            precision=precision,
            out_dir=out_dir,
            options=ExportOptions(
                BatchRange.parse(recipe.export.batch), recipe.export.embed_preprocess
            ),
            data=recipe.data,
            on_step=run.say,
        )

    settings = {"before": key, "export": asdict(recipe.export), "of": [target, precision]}
    run.stage(f"03-export-{target}-{precision}", settings, out_dir, work)
    return out_dir


def _compare(run: _Run, bundles: list[Path]) -> dict[str, Any]:
    """Measured anew in every run: the machine may have changed."""
    settings = run.recipe.compare
    run.say("04-compare: running")
    dataset = open_dataset(
        run.recipe.data, "val", limit=settings.limit, skip_broken=run.recipe.skip_broken
    )
    with ExitStack() as stack:
        options = RunOptions(threads=settings.threads)
        models = [
            stack.enter_context(open_model(path, device=settings.device, options=options))
            for path in bundles
        ]
        total = len(models) * len(dataset)
        advance = stack.enter_context(images_progress("evaluating", total, enabled=run.progress))
        result = compare(
            models,
            dataset,
            run.recipe.budgets,
            rounds=settings.rounds,
            batch=BatchRange.parse(run.recipe.export.batch).best,
            seed=run.recipe.seed,
            references=_references([(m.target, m.precision) for m in models]),
            on_images=advance,
        )
    result = {**result, "recipe": run.recipe.name}
    write_json(result, run.path / RESULTS)
    return result


def _references(kinds: list[tuple[str, str]]) -> list[int]:
    """For each model its own target's fp32 one, where there is one, else the baseline."""
    floats = {target: i for i, (target, precision) in enumerate(kinds) if precision == "fp32"}
    return [floats.get(target, 0) for target, _ in kinds]


def _recorded_key(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        # No record, or a damaged one: the stage runs again.
        return None
