"""The command line: each command parses, calls one function, prints. Imports nothing heavy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet import __version__, cli_measure
from edgeresnet.cli_options import (
    Data,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Quiet,
    Seed,
    SkipBroken,
    checked_output,
    show,
    speaker,
)
from edgeresnet.errors import CheckError, EdgeResNetError, InputError, MissingError
from edgeresnet.options import QAT_DEFAULTS

HOST_FIX = "pip install 'edgeresnet[host]'"
RUNS_DIR = Path("runs")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Takes a trained ResNet to verified INT8 on an edge device, and measures it there.",
    epilog="Begin with: edgeresnet run recipes/quickstart.yaml",
)
cli_measure.register(app)

Checkpoint = Annotated[
    str, typer.Argument(metavar="CKPT", help="Checkpoint file, or torchvision:ARCH:WEIGHTS.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")]
Arch = Annotated[
    Optional[str], typer.Option("--arch", help="resnet18, 34, 50, 101 or 152, e.g. resnet18.")
]
Epochs = Annotated[Optional[int], typer.Option("--epochs", help="Passes over the data.", min=1)]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Images in a training step.", min=2)]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Example: edgeresnet train --arch resnet50 --weights torchvision:IMAGENET1K_V2 "
    "--data photos -o photos.pt"
)
def train(
    arch: Annotated[str, typer.Option("--arch", help="resnet18, 34, 50, 101 or 152.")],
    data: Data,
    output: Output,
    weights: Annotated[
        Optional[str], typer.Option("--weights", help="Checkpoint to begin with.")
    ] = None,
    stem: Annotated[
        Optional[str], typer.Option("--stem", help="imagenet, or small for up to 64 px.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the data.", min=1)] = 30,
    batch_size: BatchSize = 128,
    lr: Annotated[float, typer.Option("--lr", help="Largest learning rate.")] = 0.1,
    optimizer: Annotated[str, typer.Option("--optimizer", help="sgd or adamw.")] = "sgd",
    augment: Annotated[
        str, typer.Option("--augment", help="none, flip, shift, light or standard.")
    ] = "standard",
    precision: Annotated[str, typer.Option("--precision", help="fp32, bf16 or fp16.")] = "fp32",
    ema: Annotated[float, typer.Option("--ema", help="Decay of averaged weights; 0: none.")] = 0.0,
    clip_norm: Annotated[
        Optional[float], typer.Option("--clip-norm", help="Largest gradient norm.")
    ] = None,
    patience: Annotated[
        Optional[int], typer.Option("--patience", help="Stop after N epochs without progress.")
    ] = None,
    image_size: ImageSize = None,
    limit: Limit = None,
    seed: Seed = 0,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Train a ResNet, or fine-tune one to new classes. Interrupted, it goes on where it was."""
    from edgeresnet.options import TrainOptions

    checked_output(output)
    options = TrainOptions(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer,  # type: ignore[arg-type]
        augment=augment, precision=precision, ema=ema, clip_norm=clip_norm,  # type: ignore[arg-type]
        patience=patience, seed=seed,
    )  # fmt: skip
    from edgeresnet.checkpoint import save_checkpoint
    from edgeresnet.training import train_checkpoint

    resume_path = output.with_name(f".{output.name}.resume")
    resume_path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint, result = train_checkpoint(
        data=data, arch=arch, stem=stem, image_size=image_size, weights=weights, options=options,
        limit=limit, skip_broken=skip_broken, resume_path=resume_path, progress=not quiet,
    )  # fmt: skip
    save_checkpoint(checkpoint, output)
    resume_path.unlink(missing_ok=True)
    show(f"top-1 {result.top1:.4f} on the validation images; {output}", quiet=quiet, json=None)


@app.command(epilog="Example: edgeresnet quantize photos.pt --data photos -o photos-int8.pt")
def quantize(
    checkpoint: Checkpoint,
    output: Output,
    data: MaybeData = None,
    method: Annotated[
        str, typer.Option("--method", help="ptq, qat, or auto: qat only where ptq loses too much.")
    ] = "auto",
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Top-1 that auto may lose, absolute.")
    ] = 0.005,
    observer: Annotated[str, typer.Option("--observer", help="mse, percentile or ema.")] = "mse",
    calibration_images: Annotated[
        int, typer.Option("--calibration-images", help="Of the training data.", min=1)
    ] = 512,
    weight_bits: Annotated[
        int, typer.Option("--weight-bits", help="8 needs VNNI, AMX, Arm or a GPU.", min=7, max=8)
    ] = 7,
    epochs: Annotated[int, typer.Option("--epochs", help="Of qat.", min=1)] = QAT_DEFAULTS.epochs,
    batch_size: BatchSize = QAT_DEFAULTS.batch_size,
    lr: Annotated[float, typer.Option("--lr", help="Of qat.")] = QAT_DEFAULTS.lr,
    augment: Annotated[
        str, typer.Option("--augment", help="none, flip, shift, light or standard.")
    ] = QAT_DEFAULTS.augment,
    arch: Arch = None,
    image_size: ImageSize = None,
    limit: Limit = None,
    seed: Seed = 0,
    skip_broken: SkipBroken = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Make a fake-quantized INT8 checkpoint of a float one."""
    from dataclasses import replace

    from edgeresnet.options import QuantizeOptions

    checked_output(output)
    training = replace(
        QAT_DEFAULTS, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
        augment=augment,  # type: ignore[arg-type]
    )  # fmt: skip
    options = QuantizeOptions(
        method=method,  # type: ignore[arg-type]
        observer=observer,  # type: ignore[arg-type]
        calibration_images=calibration_images, max_drop=max_drop, train=training, seed=seed,
        weight_bits=weight_bits,
    )  # fmt: skip
    from edgeresnet.checkpoint import load_checkpoint, save_checkpoint
    from edgeresnet.quantize import quantize_checkpoint

    source = load_checkpoint(checkpoint, arch=arch, image_size=image_size)
    resume_path = output.with_name(f".{output.name}.resume")
    resume_path.parent.mkdir(parents=True, exist_ok=True)
    result, figures = quantize_checkpoint(
        source, data=_data(data, source.data, checkpoint), options=options, limit=limit,
        skip_broken=skip_broken, resume_path=resume_path, progress=not quiet,
        on_step=speaker(quiet),
    )  # fmt: skip
    save_checkpoint(result, output)
    resume_path.unlink(missing_ok=True)
    if json:
        from edgeresnet.report.results import write_json

        write_json({"schema": 1, **figures}, json)
    line = (
        f"{figures['method']}: top-1 {figures['top1_float']:.4f} -> {figures['top1_int8']:.4f} "
        f"(agreement {figures['agreement']:.4f}); {output}"
    )
    show(line, quiet=quiet, json=json)


@app.command(epilog="Example: edgeresnet export photos-int8.pt --target openvino --int8 -o bundle")
def export(
    checkpoint: Annotated[
        Optional[str],
        typer.Argument(metavar="[CKPT]", help="Checkpoint; left out: the newest run's."),
    ] = None,
    target: Annotated[str, typer.Option("--target", help="onnx or openvino.")] = "onnx",
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Bundle folder to write.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Integer kernels throughout.")] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision, on a device with it.")
    ] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16, on a device with it.")] = False,
    batch: Annotated[
        str, typer.Option("--batch", help="One size, or smallest:best:largest as 1:8:32.")
    ] = "1",
    embed_preprocess: Annotated[
        bool, typer.Option("--embed-preprocess", help="uint8 NHWC input, normalization inside.")
    ] = False,
    data: MaybeData = None,
    calibration_images: Annotated[
        int, typer.Option("--calibration-images", help="For a float CKPT with --int8.", min=1)
    ] = 512,
    arch: Arch = None,
    image_size: ImageSize = None,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Write a bundle, and prove it: logits against PyTorch, kernels in the runtime's own graph."""
    if int8 + fp16 + bf16 > 1:
        raise InputError("more than one precision is given", "give one of --int8, --fp16, --bf16.")
    precision = "int8" if int8 else "fp16" if fp16 else "bf16" if bf16 else "fp32"
    from edgeresnet.bundle import BatchRange, check_replaceable
    from edgeresnet.targets import target_of

    batches = BatchRange.parse(batch)
    target_of(target)
    source = checkpoint or str(_newest_checkpoint(precision))
    out_dir = output or Path(f"{Path(source).stem.replace(':', '-')}-{target}-{precision}")
    check_replaceable(out_dir)
    from edgeresnet.checkpoint import load_checkpoint
    from edgeresnet.export import ExportOptions, export_bundle

    loaded = load_checkpoint(source, arch=arch, image_size=image_size)
    if int8 and loaded.precision == "fp32":
        from edgeresnet.options import QuantizeOptions
        from edgeresnet.quantize import quantize_checkpoint

        options = QuantizeOptions(method="ptq", calibration_images=calibration_images)
        loaded, _ = quantize_checkpoint(
            loaded, data=_data(data, loaded.data, source), options=options, limit=limit,
            skip_broken=skip_broken, progress=not quiet, on_step=speaker(quiet),
        )  # fmt: skip
    bundle = export_bundle(
        loaded, target=target, precision=precision, out_dir=out_dir, data=data,
        options=ExportOptions(batches, embed_preprocess), on_step=speaker(quiet),
    )  # fmt: skip
    proof = bundle.manifest.proof
    kernels = ", ".join(f"{n} {op}" for op, n in proof.get("integer_kernels", {}).items())
    proven = f"; in integer kernels: {kernels}" if kernels else ""
    line = f"logits within {proof['logit_difference']:.2g} of PyTorch's{proven}\n{bundle.path}"
    show(line, quiet=quiet, json=None)


@app.command(
    epilog="Example: edgeresnet run recipes/quickstart.yaml --set train.epochs=2 -o runs/short"
)
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; see recipes/.")],
    settings: Annotated[
        Optional[list[str]], typer.Option("--set", help="key=value over the recipe's, repeatable.")
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Run folder; default runs/NAME.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Keep finished stages, or run all again.")
    ] = True,
    device: Annotated[Optional[str], typer.Option("--device", help="To measure on.")] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Run a whole recipe: train, quantize, export, compare. Goes on where it was interrupted."""
    from edgeresnet.recipe import load_recipe

    overrides = [*(settings or []), *([f"compare.device={device}"] if device else [])]
    loaded = load_recipe(recipe, overrides)
    from edgeresnet.pipeline import RESULTS, run_recipe

    run_dir = output or RUNS_DIR / loaded.name
    result = run_recipe(loaded, run_dir, fresh=not resume, progress=not quiet, say=speaker(quiet))
    cli_measure.show_comparison(result, json, quiet)
    speaker(quiet)(f"results: {run_dir / RESULTS}")
    cli_measure.enforce(result)


def _data(given: str | None, remembered: str | None, checkpoint: str) -> str:
    data = given or remembered
    if data is None:
        raise InputError(
            f"{checkpoint} does not say what it was trained on", "give --data, e.g. --data photos."
        )
    return data


def _newest_checkpoint(precision: str) -> Path:
    stages = ("02-quantize", "01-train") if precision == "int8" else ("01-train",)
    for stage in stages:
        found = sorted(
            RUNS_DIR.glob(f"*/{stage}/checkpoint.pt"), key=lambda path: path.stat().st_mtime
        )
        if found:
            return found[-1]
    raise InputError(
        f"no checkpoint is given and {RUNS_DIR} has no run", "give a checkpoint as the argument."
    )


def main() -> None:
    """Run the command line; errors that the user can mend become one message and an exit code."""
    try:
        app()
    except EdgeResNetError as error:
        label = {CheckError: "failed", MissingError: "missing"}.get(type(error), "error")
        typer.echo(f"{label}: {error.cause}\nfix: {error.fix}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in HOST_PACKAGES:
            raise
        typer.echo(f"missing: this command needs {error.name}\nfix: {HOST_FIX}", err=True)
        sys.exit(MissingError.exit_code)


HOST_PACKAGES = {"torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "safetensors", "sklearn"}
