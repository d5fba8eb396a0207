"""Images without labels: quantize measures agreement with the float network, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from typer.testing import CliRunner

from edgeresnet.api.evaluate import evaluate
from edgeresnet.api.export import export
from edgeresnet.api.prune import prune
from edgeresnet.api.quantize import quantize
from edgeresnet.api.train import train
from edgeresnet.cli.app import app
from edgeresnet.device.data.dataset import Dataset, batches
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.measure.budgets import quantization_budgets, verdict_of
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.export import export_bundle as export_module
from edgeresnet.host.export.proof_images import golden_images, proof_images
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint
from edgeresnet.host.quantization import rounding
from edgeresnet.host.quantization.rungs import rung as module
from edgeresnet.host.quantization.rungs.rung import Work
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.host.training.step import Learner
from edgeresnet.progress import TaskContext
from edgeresnet.run.quantize_stage import _sought
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS, ModelSettings, TrainOptions
from tests.host.models.foreign_networks import narrow, tensors_of

SIZE = 16
PTQ = QuantizeOptions(method="ptq", calibration_images=32)


def write_photos(root: Path, count: int = 120) -> Path:
    """Noise of many kinds, directly in a folder."""
    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(count):
        levels = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((SIZE, SIZE)).save(root / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A foreign checkpoint of five outputs without names, none of which is always the largest."""
    path = tmp_path_factory.mktemp("floats") / "floats.pth"
    model = narrow()
    images = open_dataset(str(photos), "train", unlabelled=True)
    ((inputs, _),) = batches(images, InputSpec(SIZE), len(images))
    with torch.no_grad():
        model.get_parameter("fc.bias").sub_(model(torch.from_numpy(inputs)).mean(0))
    torch.save(tensors_of(model), path)
    return path


def to_int8(
    source: Path, out: Path, data: Path | str, options: QuantizeOptions = PTQ, **more: Any
) -> tuple[Any, list[str]]:
    lines: list[str] = []
    context = TaskContext(data=str(data), on_step=lines.append)
    figures = quantize(source, out, options, image_size=SIZE, context=context, **more)
    return figures, lines


def logits_of(checkpoint: Checkpoint, images: Dataset) -> np.ndarray:
    ((inputs, _),) = batches(images, checkpoint.input_spec, len(images))
    with torch.inference_mode():
        result: np.ndarray = checkpoint.build().eval()(torch.from_numpy(inputs)).numpy()
    return result


def test_quantize_gives_agreement_on_the_validation_part_and_no_top1(
    photos: Path, floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated: list[str] = []

    def read(self: Work, dataset: Dataset, *, shared: bool = False) -> Any:
        calibrated.extend(dataset.file_name(i) for i in range(len(dataset)))
        return own_read(self, dataset, shared=shared)

    own_read = Work.batches_of
    monkeypatch.setattr(Work, "batches_of", read)
    figures, lines = to_int8(floats, tmp_path / "int8.pt", photos)
    int8 = load_checkpoint(tmp_path / "int8.pt")
    val = open_dataset(str(photos), "val", unlabelled=True)
    assert len(calibrated) == 32
    assert not {val.file_name(i) for i in range(len(val))} & set(calibrated)
    before, after = (
        logits_of(one, val).argmax(1) for one in (load_checkpoint(floats, image_size=SIZE), int8)
    )
    same = int((before == after).sum())
    assert len(set(before.tolist())) > 1
    assert figures["agreement"] == same / len(val)
    wanted = binomtest(same, len(val)).proportion_ci(method="wilson")
    assert figures["agreement_interval"] == pytest.approx([wanted.low, wanted.high])
    assert figures["images"] == len(val)
    for key in ("top1_float", "top1_int8", "drop", "drop_interval"):
        assert figures[key] is None
    json.dumps(figures, allow_nan=False)
    assert figures["budgets"] == []
    assert not any("above chance" in line or "top-1" in line for line in lines)
    # Nobody has named the classes; the data is remembered.
    assert not int8.classes_known
    assert int8.classes == ("0", "1", "2", "3", "4")
    assert int8.data == str(photos)


def test_what_was_assumed_says_no_folder_when_the_images_have_no_labels(
    floats: Path, photos: Path
) -> None:
    theirs = load_checkpoint(floats, image_size=SIZE)
    told = theirs.provenance["assumed"]
    assert told.endswith("by sorted folder name (by number where images have no labels)")
    context = TaskContext(data=str(photos))
    checkpoint, _, _ = open_splits_for(theirs, context, unlabelled=True)
    assumed = checkpoint.provenance["assumed"]
    assert assumed.endswith("classes by number (the images have no labels)")


def test_evaluate_says_that_the_remembered_images_have_no_labels(
    photos: Path, floats: Path, tmp_path: Path
) -> None:
    to_int8(floats, tmp_path / "int8.pt", photos)
    with pytest.raises(InputError, match=f"{photos} has no labels"):
        evaluate(tmp_path / "int8.pt")


@pytest.mark.parametrize("task", ["evaluate", "train", "prune"])
def test_what_needs_labels_refuses_unlabelled_images(
    photos: Path, floats: Path, tmp_path: Path, task: str
) -> None:
    context = TaskContext(data=str(photos))
    out = tmp_path / "out.pt"
    tasks: dict[str, Callable[[], object]] = {
        "evaluate": lambda: evaluate(floats, image_size=SIZE, context=context),
        "train": lambda: train(out, ModelSettings(), TrainOptions(epochs=1), context=context),
        "prune": lambda: prune(floats, out, PruneOptions(macs=0.5), image_size=SIZE,
                               context=context),
    }  # fmt: skip
    with pytest.raises(InputError, match="has no labels") as caught:
        tasks[task]()
    assert "CLASS" in caught.value.fix
    assert not out.exists()


@pytest.mark.parametrize("name", ["max_drop", "max_class_drop"])
def test_quantize_refuses_when_max_drop_has_no_labels(
    photos: Path, floats: Path, tmp_path: Path, name: str
) -> None:
    options = QuantizeOptions(method="ptq", **{name: 0.01})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is of top-1") as caught:
        to_int8(floats, tmp_path / "x.pt", photos, options)
    assert "--max-disagreement" in caught.value.fix
    assert not (tmp_path / "x.pt").exists()


def test_quantize_refuses_when_an_order_of_classes_has_no_effect(
    photos: Path, floats: Path, tmp_path: Path
) -> None:
    context = TaskContext(data=str(photos), class_order="natural")
    with pytest.raises(InputError, match="--class-order has no effect"):
        quantize(floats, tmp_path / "x.pt", PTQ, image_size=SIZE, context=context)


def test_quantize_takes_given_names_when_the_images_have_no_labels(
    photos: Path, floats: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("\n".join("abcde"))
    context = TaskContext(data=str(photos), classes_path=tmp_path / "names.txt")
    quantize(floats, tmp_path / "x.pt", PTQ, image_size=SIZE, context=context)
    named = load_checkpoint(tmp_path / "x.pt")
    assert (named.classes, named.classes_known) == (tuple("abcde"), True)


def figures_of(agreement: float, n: int = 200) -> dict[str, Any]:
    interval = binomtest(round(agreement * n), n).proportion_ci(method="wilson")
    return {"method": "ptq", "agreement": agreement,
            "agreement_interval": [interval.low, interval.high]}  # fmt: skip


@pytest.mark.parametrize(
    ("agreement", "decision", "met"),
    [(1.0, "kept", True), (0.97, "undecided", True), (0.93, "undecided", False),
     (0.5, "missed", False)],
)  # fmt: skip
def test_max_disagreement_is_decided_on_its_interval(
    agreement: float, decision: str, met: bool
) -> None:
    figures = figures_of(agreement)
    (budget,) = quantization_budgets(figures, {"max_disagreement": 0.05})
    low, high = figures["agreement_interval"]
    assert (budget["name"], budget["value"]) == ("max_disagreement", pytest.approx(1 - agreement))
    assert (budget["low"], budget["high"]) == pytest.approx((1 - high, 1 - low))
    assert (budget["decision"], budget["met"]) == (decision, met)
    assert verdict_of([budget], strict=True)["verdict"] == (
        "pass" if decision == "kept" else "fail"
    )


def test_max_disagreement_binds_labelled_data_too(floats: Path, tmp_path: Path) -> None:
    torch.save(tensors_of(narrow(outputs=10)), tmp_path / "ten.pth")
    both = QuantizeOptions(
        method="ptq", calibration_images=32, max_drop=1, max_class_drop=1, max_disagreement=0
    )
    context = TaskContext(data="digits", limit=60)
    figures = quantize(tmp_path / "ten.pth", tmp_path / "x.pt", both, image_size=SIZE,
                       context=context)  # fmt: skip
    names = [b["name"] for b in figures["budgets"]]
    assert names == ["max_drop", "max_class_drop", "max_disagreement"]
    changes = figures["class_changes"]
    assert [sum(column) for column in zip(*changes.values(), strict=True)] == [
        60, figures["lost"], figures["gained"],
    ]  # fmt: skip
    assert figures["drop"] == pytest.approx((figures["lost"] - figures["gained"]) / 60)
    assert figures["top1_int8"] is not None
    low, high = figures["agreement_interval"]
    assert low <= figures["agreement"] <= high
    assert figures["budgets"][2]["value"] == pytest.approx(1 - figures["agreement"])
    assert figures["verdict"] == ("pass" if figures["agreement"] == 1 else "fail")


def test_command_quantize_says_agreement_and_refuses_when_the_budget_is_missed(
    photos: Path, floats: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "x.pt", tmp_path / "x.json"
    arguments = ["quantize", str(floats), "--data", str(photos), "--image-size", str(SIZE),
                 "--method", "ptq", "-o", str(out), "--json", str(report)]  # fmt: skip
    done = CliRunner().invoke(app, [*arguments, "--max-disagreement", "1"])
    assert done.exit_code == 0
    figures = json.loads(report.read_text())
    low, high = figures["agreement_interval"]
    assert done.stdout.replace("\n", " ").startswith(
        f"ptq: agreement with the float network {figures['agreement']:.4f} ({low:.2f} to "
        f"{high:.2f}) on {figures['images']} images without labels"
    )
    assert "top-1" not in done.output
    assert figures["top1_int8"] is None
    out.unlink()
    missed = CliRunner().invoke(app, [*arguments, "--max-disagreement", "0", "--strict"])
    assert isinstance(missed.exception, CheckError)
    assert "max_disagreement" in missed.exception.cause
    assert "--max-disagreement" in missed.exception.fix or "more images" in missed.exception.fix
    assert out.exists()


def test_export_calibrates_on_unlabelled_images(
    photos: Path, floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[Checkpoint] = []
    monkeypatch.setattr(export_module, "export_bundle", lambda c, **_: exported.append(c))
    export(floats, tmp_path / "bundle", target="onnx", precision="int8", calibration_images=32,
           image_size=SIZE, context=TaskContext(data=str(photos)))  # fmt: skip
    (int8,) = exported
    assert int8.precision == "int8"
    assert (int8.quantization or {})["top1_int8"] is None
    proof = proof_images(int8, None)
    assert proof.origin == "calibration"
    train_set = open_dataset(str(photos), "train", unlabelled=True)
    assert set(proof.names) <= {train_set.file_name(i) for i in range(len(train_set))}
    assert len(golden_images(int8, 3, str(photos))) == 3


def trained(method: Any, freeze_bn: float = 0.5, **more: Any) -> QuantizeOptions:
    short = replace(QAT_DEFAULTS, epochs=2, batch_size=32, augment="none", lr=0.001, **more)
    return QuantizeOptions(method, calibration_images=32, train=short, freeze_bn=freeze_bn)


def test_quantize_trains_on_the_float_networks_answers_when_there_are_no_labels(
    photos: Path, floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    losses: list[tuple[float, float]] = []

    def step(
        self: Learner, images: torch.Tensor, labels: torch.Tensor, of: int | None = None
    ) -> Any:
        assert self.options.distill == 1
        with torch.inference_mode():
            taught = float_network(images)
            own = self.model.train()(images)
        loss, hits = own_step(self, images, labels, of)
        wanted = torch.nn.functional.kl_div(
            (own / 2).log_softmax(1), (taught / 2).log_softmax(1), log_target=True,
            reduction="batchmean",
        )  # fmt: skip
        losses.append((float(loss), float(wanted * 4)))
        assert int(hits) == int((own.argmax(1) == taught.argmax(1)).sum())
        return loss, hits

    own_step: Callable[..., Any] = Learner.step
    float_network = load_checkpoint(floats, image_size=SIZE).build().eval()
    monkeypatch.setattr(Learner, "step", step)
    context = TaskContext(data=str(photos), progress=True)
    figures = quantize(floats, tmp_path / "x.pt", trained("qat", freeze_bn=0.0),
                       image_size=SIZE, context=context)  # fmt: skip
    assert len(losses) == 6
    assert [found for found, _ in losses] == pytest.approx([one for _, one in losses], rel=1e-3)
    assert figures["method"] == "qat"
    (rung,) = figures["rungs"]
    assert rung["top1_calibrated"] is None
    assert 0 < rung["agreement_calibrated"] <= 1
    log = capsys.readouterr().err
    assert "val agreement" in log
    assert "top-1" not in log
    shown = float(log.rsplit("val agreement ")[-1].split()[0])
    # Normalization is folded only after the last validation.
    assert shown == pytest.approx(figures["agreement"], abs=0.1)


@pytest.mark.parametrize(("limit", "methods"), [(None, 6), (1.0, 1)])
def test_auto_binds_agreement_when_there_are_no_labels(
    photos: Path, floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    limit: float | None, methods: int,
) -> None:  # fmt: skip
    # Calibration that nothing is left of: one step for all values.
    def coarse(model: Any, *rest: Any, **how: Any) -> None:
        for quantizer in model.quantizers().values():
            quantizer.scale.data.fill_(1.0)

    monkeypatch.setattr(module, "calibrate", coarse)
    monkeypatch.setattr(rounding, "STEPS", 1)
    options = replace(trained("auto"), max_disagreement=limit)
    figures, lines = to_int8(floats, tmp_path / "x.pt", photos, options)
    assert len(figures["rungs"]) == methods
    (budget,) = figures["budgets"]
    assert (budget["name"], budget["limit"]) == ("max_disagreement", limit or 0.02)
    missed = [line for line in lines if line.endswith("otherwise, and 0.02 is the limit")]
    assert len(missed) == (methods if limit is None else 0)
    best = max(figures["rungs"], key=lambda rung: float(rung["agreement"]))
    assert figures["agreement"] == best["agreement"]


@pytest.mark.parametrize("told", [{"distill": 0.0}, {"label_smoothing": 0.1}])
def test_quantize_refuses_when_the_training_is_to_learn_from_labels(
    photos: Path, floats: Path, tmp_path: Path, told: dict[str, float]
) -> None:
    with pytest.raises(InputError, match=f"{next(iter(told))}.* needs labels"):
        to_int8(floats, tmp_path / "x.pt", photos, trained("qat", **told))


@pytest.mark.parametrize(
    ("told", "key"),
    [({}, [0.005, False]), ({"max_drop": 0.01}, [0.01, False]),
     ({"max_disagreement": 0.1}, [None, False, 0.1]),
     ({"max_class_drop": 0.2}, [None, False, None, 0.2])],
)  # fmt: skip
def test_the_key_of_auto_has_a_new_budget_only_where_it_is_given(
    told: dict[str, float], key: list[float | bool | None]
) -> None:
    assert _sought(QuantizeOptions(**told), strict=False) == key  # type: ignore[arg-type]


def test_quantize_says_so_when_the_float_network_gives_one_class_to_nearly_all(
    photos: Path, floats: Path, tmp_path: Path
) -> None:
    torch.save(tensors_of(narrow()), tmp_path / "same.pth")
    _, lines = to_int8(tmp_path / "same.pth", tmp_path / "x.pt", photos)
    assert any("class 4 to 25 of 25 images: agreement says little there" in line for line in lines)
    _, lines = to_int8(floats, tmp_path / "x.pt", photos)
    assert not any("says little" in line for line in lines)
