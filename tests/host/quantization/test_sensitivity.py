"""Which layer's quantization hurts: against numpy, and where the culprit is known."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.host.models.fake_quant import FakeQuant
from edgeresnet.host.quantization.distances import divergence
from edgeresnet.host.quantization.sensitivity import (
    Study,
    measure_sensitivity,
    only_quantized,
)
from edgeresnet.progress import TaskContext
from edgeresnet.report.sensitivity import sensitivity_table
from edgeresnet.results.sensitivity import LayerSensitivity, SensitivityResults
from edgeresnet.settings.quantization import QuantizeOptions
from tests.conftest import Command
from tests.mixed import NARROW, calibrated, plant_outlier
from tests.numpy_network import convolved
from tests.small_checkpoints import make_checkpoint
from tests.test_results import check

# Its extremes make the grids: an outlier is not clipped away.
BY_EXTREMES = QuantizeOptions(observer="ema", calibration_images=32)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return make_checkpoint(size=8, widths=NARROW)


def on_grid(x: NDArray[np.float64], quantizer: FakeQuant) -> NDArray[np.float64]:
    low, high = quantizer.range
    scale = quantizer.scale.detach().double().numpy()
    if quantizer.axis >= 0:
        scale = scale.reshape(-1, *[1] * (x.ndim - 1))
    rounded: NDArray[np.float64] = np.clip(np.rint(x / scale), low, high) * scale
    return rounded


@pytest.mark.parametrize(
    ("layer", "read", "handed"),
    [
        ("layer2.0.conv1", "layer1.1.output_quant", None),
        ("layer2.0.conv2", "layer2.0.conv1_quant", "layer2.0.conv2_quant"),
        ("layer3.0.downsample.0", "layer2.1.output_quant", "layer3.0.downsample_quant"),
        ("fc", "pool_quant", None),
    ],
)
def test_ratio_is_that_of_a_plain_computation(layer: str, read: str, handed: str | None) -> None:
    _, model = calibrated((), stem="small", size=8)
    images = torch.randn(4, 3, 8, 8)
    module = model.get_submodule(layer)
    seen: list[NDArray[np.float64]] = []
    with only_quantized(model, layer) as told, torch.inference_mode():
        handle = module.register_forward_pre_hook(lambda _, x: seen.append(x[0].double().numpy()))
        model(images)
        handle.remove()
    weight = module.weight.detach().double().numpy()
    bias = module.bias.detach().double().numpy()  # type: ignore[union-attr]

    def output(x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        if layer == "fc":
            return x @ weight.T + bias
        stride = module.stride[0]  # type: ignore[index]
        return convolved(x, weight, stride) + bias.reshape(-1, 1, 1)

    quantizers = model.quantizers()
    wanted = output(seen[0], weight)
    found = output(
        on_grid(seen[0], quantizers[read]),
        on_grid(weight, module.weight_quant),  # type: ignore[arg-type]
    )
    if handed is not None:
        found = on_grid(found, quantizers[handed])
    expected = 10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum())
    assert told.sqnr_db == pytest.approx(expected, abs=0.05)


def test_network_is_as_it_was_after_a_layer_was_tried() -> None:
    _, model = calibrated(("fc",), stem="small", size=8)
    images = torch.randn(4, 3, 8, 8)
    with torch.inference_mode():
        before = model(images)
        with only_quantized(model, "layer2.0.conv1"):
            assert not torch.equal(model(images), before)
        assert torch.equal(model(images), before)
    assert model.float_layers == ("fc",)


def test_divergence_is_that_of_scipy() -> None:
    from scipy.special import rel_entr, softmax

    rng = np.random.default_rng(0)
    p, q = rng.normal(0, 3, (2, 50, 10)).astype(np.float32)
    wanted = rel_entr(softmax(p, 1), softmax(q, 1)).sum(1).mean()
    assert divergence(p, q) == pytest.approx(wanted, rel=1e-5)
    assert divergence(p, p + 5) == pytest.approx(0, abs=1e-9)


def test_the_layer_that_reads_an_outlier_is_the_most_sensitive(checkpoint: Checkpoint) -> None:
    context = TaskContext(data="digits", limit=48)
    found = measure_sensitivity(plant_outlier(checkpoint), context, BY_EXTREMES)
    check(found, SensitivityResults)
    for row in found["layers"]:
        check(row, LayerSensitivity)
    rows = {row["name"]: row for row in found["layers"]}
    assert found["layers"][0]["name"] == "layer2.0.conv2"
    assert rows["layer2.0.conv2"]["sqnr_db"] == min(row["sqnr_db"] or 99 for row in rows.values())
    others = [row["kl_only"] for name, row in rows.items() if name != "layer2.0.conv2"]
    assert rows["layer2.0.conv2"]["kl_only"] > 3 * max(others)
    assert (found["images"], found["calibration_images"], len(rows)) == (48, 32, 21)
    assert found["top1_float"] is not None
    # Without the culprit alone nothing is won: its input stays on the grid that integers write.
    assert rows["fc"]["kl_rest"] == pytest.approx(found["kl"], rel=0.5)


def test_a_quantized_checkpoint_is_taken_as_it_is(checkpoint: Checkpoint) -> None:
    source, model = calibrated(("fc",), stem="small", size=8)
    quantized = replace(
        source, precision="int8", quantization={"weight_bits": 7}, float_layers=("fc",),
        state_dict=model.state_dict(), data="digits",
    )  # fmt: skip
    found = measure_sensitivity(quantized, TaskContext(limit=8))
    assert found["calibration_images"] is None
    row = next(row for row in found["layers"] if row["name"] == "fc")
    assert row["kl_rest"] == found["kl"]


def test_agreement_stands_in_for_top1_when_images_have_no_labels(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    found = measure_sensitivity(checkpoint, TaskContext(data=str(tmp_path)), BY_EXTREMES)
    assert (found["top1_float"], found["top1_change"]) == (None, None)
    assert {row["top1_change_only"] for row in found["layers"]} == {None}
    assert all(0 <= row["agreement_only"] <= 1 for row in found["layers"])


def test_command_shows_bars_and_writes_json(
    checkpoint: Checkpoint, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path, out = tmp_path / "float.pt", tmp_path / "out.json"
    save_checkpoint(checkpoint, path)
    asked = ("inspect", path, "--sensitivity", "--data", "digits", "--limit", 16, "--json", out)
    code, shown, said = command(*asked)
    assert code == 0, said
    assert "SQNR dB" in shown
    assert "█" in shown
    assert max(map(len, shown.splitlines())) <= 80
    written = json.loads(out.read_text())["sensitivity"]
    assert written["images"] == 16
    assert written["layers"][0]["kl_only"] == max(row["kl_only"] for row in written["layers"])


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("float.pt", ("--limit", 9), "--limit would have no effect"),
        ("bundle", ("--sensitivity",), "is no checkpoint"),
    ],
)
def test_command_refuses_what_has_no_effect(
    checkpoint: Checkpoint, tmp_path: Path, command: Command, name: str,
    options: tuple[object, ...], told: str,
) -> None:  # fmt: skip
    save_checkpoint(checkpoint, tmp_path / "float.pt")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    code, _, said = command("inspect", tmp_path / name, *options)
    assert code == 2
    assert told in " ".join(said.split())


def test_study_counts_the_images_that_it_answers(checkpoint: Checkpoint) -> None:
    from edgeresnet.device.data.open import open_dataset
    from edgeresnet.host.models.validation import EvaluationSet

    _, model = calibrated((), stem="small", size=8)
    done: list[int] = []
    images = EvaluationSet(open_dataset("digits", "val", limit=5), checkpoint.input_spec)
    study = Study(model, images, on_images=done.append)
    assert len(study.layers(study.float_logits())) == 21
    assert done == [5] * (2 * 21 + 1)


def test_the_table_fills_80_columns_and_cuts_nothing() -> None:
    row = {
        "name": "layer2.0.downsample.0", "sqnr_db": 132.1, "kl_only": 3.2e-4, "kl_rest": 1.2e-13,
        "top1_change_only": -0.0417, "agreement_only": 1.0, "top1_change_rest": 0.0417,
        "agreement_rest": 1.0,
    }  # fmt: skip
    shown = io.StringIO()
    table = sensitivity_table({"top1_float": 0.9, "layers": [row, row]})
    Console(file=shown, width=80).print(table)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 4
    assert "…" not in shown.getvalue()
