"""Pruning a checkpoint from end to end, on digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.models.sparsity_2_4 import is_sparse, keeps_pattern, masks_of, pattern_masks
from edgeresnet.host.pruning import cut_to_budget
from edgeresnet.host.pruning import prune_checkpoint as prune_module
from edgeresnet.host.pruning.prune_checkpoint import prune_checkpoint
from edgeresnet.host.quantization import latency_probe
from edgeresnet.host.quantization.latency_probe import SESSIONS, LatencyProbe
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.training.fit import TrainResult
from edgeresnet.host.training.train_checkpoint import train_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings, TrainOptions
from tests.cli.test_app import image_folder
from tests.host.training.test_train_checkpoint import narrow_weights

BRIEF = TrainOptions(epochs=1, batch_size=32, lr=0.02, augment="none", distill=0.5)
LIMIT = 120
# Half of torchvision's, and the last stage a quarter: room for steps of 16 in all of them.
HALF = Widths(32, (32, 64, 128, 128), (((32,),) * 2, ((64,),) * 2, ((128,),) * 2, ((128,),) * 2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A narrow ResNet-18 that knows its digits a little, at 8 px."""
    torch.manual_seed(0)
    start = Checkpoint(
        "resnet18", "small", HALF, tuple("0123456789"), InputSpec(8),
        build_resnet("resnet18", 10, "small", HALF).state_dict(),
    )  # fmt: skip
    weights = tmp_path_factory.mktemp("start") / "start.pt"
    save_checkpoint(start, weights)
    return train_checkpoint(
        ModelSettings(weights=str(weights)),
        image_size=8,
        options=replace(BRIEF, epochs=4, lr=0.05, distill=0.0),
        context=TaskContext(data="digits", limit=400),
    )[0]


def prune(source: Checkpoint, work_dir: Path, **options: Any) -> tuple[Checkpoint, Any]:
    settings = {"train": BRIEF, "images": 64, **options}
    return prune_checkpoint(
        source,
        options=PruneOptions(**settings),
        context=TaskContext(data="digits", limit=LIMIT, resume_path=work_dir),
    )


def test_pruned_checkpoint_is_narrower_and_goes_on_to_int8(
    trained: Checkpoint, tmp_path: Path
) -> None:
    pruned, figures = prune(trained, tmp_path / "w", macs=0.5, compare_criteria=True)
    assert 0.47 <= figures["macs_after"] / figures["macs_before"] <= 0.5
    widths = pruned.widths
    flat = [widths.stem, *widths.streams, *(w for s in widths.inner for b in s for w in b)]
    assert all(width % 16 == 0 for width in flat)
    assert figures["criteria_before_recovery"].keys() == {
        "taylor", "l1", "l2", "bn_scale", "fpgm", "random",
    }  # fmt: skip
    assert figures["criteria_before_recovery"]["taylor"] == figures["top1_before_recovery"]
    save_checkpoint(pruned, tmp_path / "pruned.pt")
    read = load_checkpoint(tmp_path / "pruned.pt")
    assert read.widths == widths
    assert read.provenance["pruning"]["widths_before"]["stem"] == 32
    options = QuantizeOptions(
        method="qat", calibration_images=32, train=replace(BRIEF, distill=0.0)
    )
    int8, _ = quantize_checkpoint(
        read, options=options, context=TaskContext(data="digits", limit=64)
    )
    for target in ("onnx", "openvino"):
        bundle = export_bundle(int8, target=target, precision="int8", out_dir=tmp_path / target)
        assert bundle.manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
        assert load_bundle(bundle.path).manifest.widths == widths.to_dict()


def test_recovery_wins_back_what_pruning_took(trained: Checkpoint, tmp_path: Path) -> None:
    longer = replace(BRIEF, epochs=4)
    _, figures = prune(trained, tmp_path / "w", macs=0.3, criterion="random", train=longer)
    assert figures["top1"] > figures["top1_before_recovery"]


def test_pruning_goes_on_behind_the_cut_when_interrupted(
    trained: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeresnet.host.pruning import prune_checkpoint as prune_module

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prune_module, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(trained, tmp_path / "w", parameters=0.5)
    with monkeypatch.context() as patch:
        # What was scored and cut must not be made again.
        patch.setattr(cut_to_budget.Shaper, "shape", killed)
        _, figures = prune(trained, tmp_path / "w", parameters=0.5)
    assert figures["parameters_after"] / figures["parameters_before"] <= 0.5
    with monkeypatch.context() as patch:
        patch.setattr(cut_to_budget.Shaper, "shape", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(trained, tmp_path / "w", parameters=0.4)


def test_iterations_reach_the_budget_in_parts(trained: Checkpoint, tmp_path: Path) -> None:
    pruned, figures = prune(trained, tmp_path / "w", macs=0.36, iterations=2)
    first = load_checkpoint(tmp_path / "w" / "cut-1.pt")
    assert first.widths.stem >= pruned.widths.stem
    assert first.provenance["cut_figures"]["cost_share"] == pytest.approx(0.6)
    assert 0.33 <= figures["macs_after"] / figures["macs_before"] <= 0.36


def test_pruned_checkpoint_is_pruned_again_with_blocks_removed(
    trained: Checkpoint, tmp_path: Path
) -> None:
    once, _ = prune(trained, tmp_path / "a", macs=0.5)
    twice, figures = prune(once, tmp_path / "b", macs=0.05, floor=0.0, remove_blocks=True)
    assert figures["widths_before"] == once.widths.to_dict()
    assert () in [block for stage in twice.widths.inner for block in stage]
    save_checkpoint(twice, tmp_path / "t.pt")
    model = load_checkpoint(tmp_path / "t.pt").build()
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    options = QuantizeOptions(method="ptq", calibration_images=32)
    int8, _ = quantize_checkpoint(
        twice, options=options, context=TaskContext(data="digits", limit=64)
    )
    bundle = export_bundle(int8, target="onnx", precision="int8", out_dir=tmp_path / "bundle")
    kernels = bundle.manifest.proof["integer_kernels"]
    assert kernels["Add"] == sum(bool(block) for stage in twice.widths.inner for block in stage)


def test_prune_takes_frozen_parameters_like_all_others(
    trained: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = prune(trained, tmp_path / "a", macs=0.5)
    build = Checkpoint.build

    def frozen(self: Checkpoint) -> torch.nn.Module:
        model = build(self)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("fc"))
        return model

    monkeypatch.setattr(Checkpoint, "build", frozen)
    found, _ = prune(trained, tmp_path / "b", macs=0.5)
    assert found.widths == expected.widths


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"macs": 1.2}, "leaves nothing to prune"),
        ({"macs": 0.0}, "leaves no network"),
        ({"macs": 0.001}, "cannot be reached"),
        ({"macs": 0.5, "step": 100}, "width step of 100 is wider than layer1"),
        ({"macs": 0.5, "latency_ms": 1.0}, "macs and latency_ms"),
        ({}, "there is none"),
        ({"pattern": "2:4", "criterion": "fpgm"}, "needs scores of single weights"),
        ({"latency_ms": 1e6}, "nothing to prune"),
        ({"latency_ms": 1e-4}, "cannot be met"),
    ],
)
def test_prune_refuses_budgets_that_make_no_sense(
    trained: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    told: str,
) -> None:
    # Of times only how far they are from the budget matters.
    monkeypatch.setattr(latency_probe, "fresh_p50_ms", lambda path, *_: path.stat().st_size / 1e6)
    with pytest.raises(InputError, match=told):
        prune(trained, tmp_path / "w", **options)


def test_prune_refuses_a_quantized_checkpoint(int8_checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pruning comes first"):
        prune(int8_checkpoint, tmp_path / "w", macs=0.5)


@pytest.fixture(scope="module")
def sparse(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """2:4 by Taylor scores, recovered."""
    found, figures = prune(trained, tmp_path_factory.mktemp("work"), pattern="2:4")
    assert figures["sparse_layers"] == 20
    assert figures["top1"] >= figures["top1_before_recovery"] - 0.05
    return found


def test_pattern_is_kept_through_recovery_qat_and_export(
    sparse: Checkpoint, tmp_path: Path
) -> None:
    assert is_sparse(sparse)
    names = masks_of(sparse.state_dict).keys()
    assert len(names) == 20
    for name in names:
        assert keeps_pattern(sparse.state_dict[name]), name
    options = QuantizeOptions(
        method="qat", calibration_images=96, train=replace(BRIEF, distill=0.0)
    )
    int8, _ = quantize_checkpoint(
        sparse, options=options, context=TaskContext(data="digits", limit=200)
    )
    trained_on = int8.state_dict["layer1.0.conv1.weight"]
    assert 0 < (trained_on != 0).float().mean() <= 0.5
    bundle = export_bundle(int8, target="onnx", precision="int8", out_dir=tmp_path / "bundle")
    assert bundle.manifest.proof["pattern"] == "2:4"
    assert bundle.manifest.proof["sparse_layers"] == 20


def test_pattern_keeps_the_largest_weights_when_the_criterion_is_l1(
    trained: Checkpoint, tmp_path: Path
) -> None:
    frozen = replace(BRIEF, lr=1e-9)
    found, _ = prune(trained, tmp_path / "w", pattern="2:4", criterion="l1", train=frozen)
    before = trained.state_dict["layer2.0.conv1.weight"]
    kept = found.state_dict["layer2.0.conv1.weight"]
    largest = before.abs().movedim(1, -1).reshape(-1, 4).sort(dim=1).values[:, 2:]
    assert torch.allclose(
        kept.abs().movedim(1, -1).reshape(-1, 4).sum(1), largest.sum(1), atol=1e-5
    )


def test_export_fails_when_the_pattern_was_lost(sparse: Checkpoint, tmp_path: Path) -> None:
    weights = {n: t.clone() for n, t in sparse.state_dict.items()}
    weights["layer3.0.conv1.weight"][5, :4, 1, 1] = 1.0
    with pytest.raises(CheckError, match=r"layer3\.0\.conv1 has lost its 2:4"):
        export_bundle(
            replace(sparse, state_dict=weights), target="onnx", precision="fp32",
            out_dir=tmp_path / "b",
        )  # fmt: skip
    assert not (tmp_path / "b").exists()


def test_pattern_masks_keep_the_best_two_of_four() -> None:
    scores = torch.rand(8, 16, 3, 3)
    mask = pattern_masks({"w": scores, "stem": torch.rand(8, 3, 3, 3)})
    assert mask.keys() == {"w"}
    fours = (scores * mask["w"]).permute(0, 2, 3, 1).reshape(-1, 4)
    best = scores.permute(0, 2, 3, 1).reshape(-1, 4).sort(dim=1).values[:, 2:].sum(1)
    assert torch.allclose(fours.sum(1), best)
    assert keeps_pattern(mask["w"])
    assert not keeps_pattern(torch.ones(8, 16, 3, 3))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_latency_budget_is_measured_on_the_target(
    trained: Checkpoint, tmp_path: Path, target: str
) -> None:
    _, figures = prune(trained, tmp_path / "w", latency=0.7, target=target, step=16)
    assert figures["latency_ms"] <= 0.7 * figures["latency_dense_ms"]
    assert figures["measurements"] >= 1
    assert figures["macs_after"] < figures["macs_before"]


def test_latency_as_a_share_is_measured_beside_the_dense_network(
    trained: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With files' sizes for times, so that none depends on what else the machine does."""
    asked: list[str] = []

    def as_large_as_the_file(self: LatencyProbe, paths: list[Path], seed: int) -> list[float]:
        asked.extend(path.parent.name for path in paths)
        return [path.stat().st_size / 1e6 for path in paths]

    monkeypatch.setattr(LatencyProbe, "_time_together", as_large_as_the_file)
    _, figures = prune(trained, tmp_path / "w", latency=0.7, target="onnx", step=32)
    assert figures["latency_ms"] <= 0.7 * figures["latency_dense_ms"]
    pairs = SESSIONS * figures["measurements"]
    assert asked == ["dense"] * SESSIONS + ["pruned", "dense"] * pairs
    assert figures["macs_after"] < figures["macs_before"]


def test_latency_in_milliseconds_is_measured_in_fresh_processes(
    trained: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def as_large_as_the_file(path: Path, target: str, device: str, threads: int | None) -> float:
        asked.append(path.parent.name)
        return path.stat().st_size / 1e6

    monkeypatch.setattr(
        "edgeresnet.host.quantization.latency_probe.fresh_p50_ms", as_large_as_the_file
    )
    budget_ms = 0.8
    _, figures = prune(trained, tmp_path / "w", latency_ms=budget_ms, target="onnx", step=8)
    assert figures["latency_dense_ms"] > budget_ms >= figures["latency_ms"] > 0.85 * budget_ms
    assert asked.count("dense") == SESSIONS
    assert asked.count("pruned") == SESSIONS * figures["measurements"]


def test_a_cut_is_made_anew_when_data_or_input_changed_and_work_is_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def untrained(model: nn.Module, *more: Any, resume_key: str, **others: Any) -> TrainResult:
        keys.append(resume_key)
        return TrainResult(dict(model.state_dict()), 0.5, 1, [], 0.0, 1)

    monkeypatch.setattr(prune_module, "fit", untrained)
    source = replace(narrow_weights(tmp_path / "w.pt", classes=2), classes=("a", "b"))
    data = image_folder(tmp_path / "photos", ["a", "b"], images=24, size=8)
    said: list[str] = []

    def cut(checkpoint: Checkpoint) -> bool:
        said.clear()
        prune_checkpoint(
            checkpoint,
            options=PruneOptions(macs=0.7, images=16, step=2, train=BRIEF),
            context=TaskContext(data=str(data), resume_path=tmp_path / "work", on_step=said.append),
        )
        return not any("was made before" in line for line in said)

    assert cut(source)
    assert not cut(source)
    for damaged in (b"", b"half"):
        (tmp_path / "work" / "cut-1.pt").write_bytes(damaged)
        assert cut(source)
        assert any(line.endswith("cutting anew") for line in said)
    assert cut(replace(source, input_spec=InputSpec(16)))
    assert not cut(replace(source, input_spec=InputSpec(16)))
    # Recovery goes on only from the very weights that were cut.
    assert len(set(keys)) == 2
    for path in data.rglob("*.png"):
        Image.new("RGB", (8, 8), (9, 9, 9)).save(path)
    assert cut(replace(source, input_spec=InputSpec(16)))
