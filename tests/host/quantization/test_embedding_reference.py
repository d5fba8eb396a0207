"""Networks without a classifier, quantized and judged by nearest neighbours, then exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.api.evaluate import evaluate
from edgeresnet.api.export import export
from edgeresnet.api.quantize import quantize
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.measure.neighbours import nearest
from edgeresnet.errors import InputError
from edgeresnet.host.export.export_bundle import folded
from edgeresnet.host.export.golden_choice import choose_golden
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint
from edgeresnet.host.quantization.embedding_reference import EmbeddingReference
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.quantization import QuantizeOptions

DIGITS = TaskContext(data="digits", limit=60)


@pytest.fixture(scope="module")
def quantized(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoint
) -> tuple[Path, dict[str, Any]]:
    """A folder with embedding.pth and embedding-int8.pt, and what quantizing told."""
    folder = tmp_path_factory.mktemp("headless")
    tensors = {n: t for n, t in checkpoint.state_dict.items() if not n.startswith("fc.")}
    torch.save(tensors, folder / "embedding.pth")
    options = QuantizeOptions(method="ptq", calibration_images=32, max_disagreement=0.5)
    figures = quantize(
        folder / "embedding.pth", folder / "embedding-int8.pt", options, image_size=16,
        context=DIGITS,
    )  # fmt: skip
    return folder, dict(figures)


def test_nearest_is_another_image_of_the_largest_cosine() -> None:
    embeddings = np.array([[1, 0], [0, 2], [3, 0.1], [0.1, 1]], np.float32)
    assert nearest(embeddings).tolist() == [2, 3, 0, 1]


def test_quantize_judges_by_neighbours_when_there_is_no_classifier(
    quantized: tuple[Path, dict[str, Any]],
) -> None:
    folder, figures = quantized
    assert figures["verdict"] == "pass"
    assert 0.9 < figures["cosine"]["smallest"] <= figures["cosine"]["mean"] < 1
    # Random weights keep images of one digit together; by chance it would be 0.1.
    assert figures["top1_float"] > 0.4
    assert figures["drop"] == pytest.approx(figures["top1_float"] - figures["top1_int8"])
    found = load_checkpoint(folder / "embedding-int8.pt")
    assert (found.classes, found.precision) == ((), "int8")
    assert "fc.weight_quant.scale" not in found.state_dict


def test_figures_agree_by_the_very_neighbour_when_there_are_no_labels(
    quantized: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = quantized
    own, int8 = (
        load_checkpoint(folder / name, image_size=16)
        for name in ("embedding.pth", "embedding-int8.pt")
    )
    images = open_dataset("digits", "val", limit=40)
    monkeypatch.setattr(
        "edgeresnet.host.quantization.embedding_reference.is_labelled", lambda dataset: False
    )
    reference = EmbeddingReference(own, images)
    found = reference.figures(int8.build())
    assert (found["top1_float"], found["drop"], reference.top1) == (None, None, None)
    embeddings = [
        np.concatenate([one.build()(batch).detach().numpy() for batch in inputs(own, images)])
        for one in (own, int8)
    ]
    same = [(nearest(one) == nearest(embeddings[0])).mean() for one in embeddings]
    assert found["agreement"] == pytest.approx(same[1])
    assert same[1] < 1


def inputs(checkpoint: Checkpoint, images: Any) -> list[torch.Tensor]:
    from edgeresnet.device.data.dataset import batches

    return [torch.from_numpy(one) for one, _ in batches(images, checkpoint.input_spec, 16)]


def test_reference_refuses_a_single_image(quantized: tuple[Path, dict[str, Any]]) -> None:
    own = load_checkpoint(quantized[0] / "embedding.pth", image_size=16)
    with pytest.raises(InputError, match="judged by neighbours"):
        EmbeddingReference(own, open_dataset("digits", "val").subset([0]))


def test_export_gives_the_embedding_when_there_is_no_classifier(
    quantized: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, figures = quantized
    bundle = export(
        folder / "embedding-int8.pt", tmp_path / "int8", target="onnx", precision="int8",
        context=DIGITS,
    )  # fmt: skip
    manifest = bundle.manifest
    assert (manifest.output_names, manifest.classes, manifest.logits) == (("pool",), (), 0)
    assert manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 0}
    judged = [
        evaluate(path, context=DIGITS)["top1"]
        for path in (folder / "embedding-int8.pt", tmp_path / "int8")
    ]
    assert judged[0] == pytest.approx(figures["top1_int8"])
    # Weights of 7 bits, where products saturate here, move a few neighbours.
    assert judged[1] == pytest.approx(figures["top1_int8"], abs=0.1)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_golden_images_are_the_first_when_no_answer_can_change(
    quantized: tuple[Path, dict[str, Any]], precision: str
) -> None:
    name = "embedding.pth" if precision == "fp32" else "embedding-int8.pt"
    own = load_checkpoint(quantized[0] / name, image_size=16)
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    chosen = choose_golden(folded(own), images, own.input_spec, precision, 1, 4)
    assert (len(chosen.images), len(chosen.mutants)) == (4, 0)


def test_export_gives_the_levels_alone_when_there_is_no_classifier(
    quantized: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    bundle = export(
        quantized[0] / "embedding-int8.pt", tmp_path / "b", target="onnx", precision="int8",
        options=ExportOptions(features=("C3",)), context=DIGITS,
    )  # fmt: skip
    assert bundle.manifest.output_names == ("C3",)
