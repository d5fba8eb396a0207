"""evaluate, compare, verify and profile of bundles with several outputs; their example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeresnet.api.compare import compare
from edgeresnet.api.evaluate import evaluate
from edgeresnet.api.verify import Asked, verify_bundle
from edgeresnet.errors import InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.results.audit import BROKEN
from edgeresnet.settings.export import FEATURES, ExportOptions
from edgeresnet.settings.measuring import Budgets, RunOptions
from tests.examples import python_in

DIGITS = TaskContext(data="digits", limit=60)
EMBEDDING = ExportOptions(features=("pool",), logits=False)


@pytest.fixture(scope="module")
def bundles(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoint, int8_checkpoint: Checkpoint
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("embeddings")
    wanted = {
        "embedding": (int8_checkpoint, "onnx", "int8", EMBEDDING),
        "all": (checkpoint, "onnx", "fp32", ExportOptions(features=FEATURES)),
        "levels": (
            checkpoint, "onnx", "fp32", ExportOptions(features=("C2", "C3"), logits=False)
        ),
    }  # fmt: skip
    for name, (source, target, precision, options) in wanted.items():
        export_bundle(
            source, target=target, precision=precision, out_dir=folder / name, options=options
        )
    return {name: folder / name for name in wanted}


def test_evaluate_answers_by_neighbours_when_there_are_no_logits(
    bundles: dict[str, Path],
) -> None:
    result = evaluate(bundles["embedding"], context=DIGITS)
    assert result["answers"] == "embeddings"
    assert result["n"] == 60
    # Random weights keep images of one digit together; by chance it would be 0.1.
    assert result["top1"] > 0.4
    assert result["calibration_error"] is None


def test_compare_takes_embeddings_of_all_when_one_has_no_logits(
    bundles: dict[str, Path],
) -> None:
    result = compare([bundles["all"], bundles["embedding"]], Budgets(), rounds=2, context=DIGITS)
    first, second = result["rows"]
    assert first["answers"] == second["answers"] == "embeddings"
    assert first["cosine"]["mean"] == pytest.approx(1, abs=1e-5)
    assert 0.9 < second["cosine"]["mean"] < 1
    assert second["p50_ms"] is not None
    assert second["divergence"] is None


def test_compare_refuses_when_one_gives_no_embedding(files: Path, bundles: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="onnx-fp32 gives logits and no embedding"):
        compare([bundles["embedding"], files / "onnx-fp32"], Budgets(), rounds=2, context=DIGITS)
    with pytest.raises(InputError, match="levels gives C2, C3 and no embedding"):
        evaluate(bundles["levels"], context=DIGITS)


@pytest.mark.parametrize("name", ["embedding", "all", "levels"])
def test_verify_holds_when_a_bundle_has_several_outputs(
    bundles: dict[str, Path], name: str
) -> None:
    claims = verify_bundle(bundles[name], Asked(None, RunOptions(), DIGITS))
    assert [claim for claim in claims if claim.outcome == BROKEN] == []
    assert {"input", "golden logits", "network"} <= {claim.name for claim in claims}


@pytest.mark.parametrize("name", ["embedding", "all"])
def test_example_takes_features(bundles: dict[str, Path], tmp_path: Path, name: str) -> None:
    image = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    shown = python_in(bundles[name], tmp_path, "example.py", image, "--check")
    assert shown.returncode == 0, shown.stderr
    assert "pool (128,) float32" in shown.stdout
    assert shown.stdout.count(": good") == (1 if name == "embedding" else 5)
