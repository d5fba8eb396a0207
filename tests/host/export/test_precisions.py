"""What cannot be exported is refused before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeresnet.errors import InputError
from edgeresnet.host.export import precisions
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.export.precisions import check_precision
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.resnet import Widths
from tests.small_checkpoints import SLIM, make_checkpoint


def of_streams(*streams: int) -> Checkpoint:
    widths = Widths(streams[0], streams, tuple(((32,),) * 2 for _ in streams))
    return replace(make_checkpoint(widths=widths), precision="int8", quantization={})


@pytest.mark.parametrize("streams", [(24, 32, 64, 64), (32, 32, 36, 64), (32, 32, 64, 72)])
def test_openvino_refuses_integer_streams_at_which_its_threads_race(
    streams: tuple[int, ...],
) -> None:
    checkpoint = of_streams(*streams)
    (odd,) = (channels for channels in streams if channels % 16)
    with pytest.raises(InputError, match=f"has {odd} channels, and OpenVINO's integer") as caught:
        check_precision(checkpoint, "openvino", "int8")
    assert "--step 16" in caught.value.fix
    check_precision(checkpoint, "onnx", "int8")
    check_precision(replace(checkpoint, precision="fp32"), "openvino", "fp32")


@pytest.mark.parametrize("streams", [(16, 32, 48, 64), (8,) * 4, (12, 16, 12, 16)])
def test_openvino_takes_streams_of_other_widths(streams: tuple[int, ...]) -> None:
    check_precision(of_streams(*streams), "openvino", "int8")


@pytest.mark.slow
@pytest.mark.parametrize("channels", [8, 12, 24, 36, 40, 48])
def test_openvino_races_where_a_block_of_channels_is_not_full(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it fails at 24, 36 and 40 a newer OpenVINO, or this processor, is right: refuse less."""
    import openvino

    from tests.mixed import calibrated

    monkeypatch.setattr(precisions, "_check_streams", lambda *arguments: None)
    widths = Widths(channels, (channels,) * 4, SLIM.inner)
    source, model = calibrated((), widths=widths)
    told: dict[str, Any] = {"weight_bits": 7}
    checkpoint = replace(source, precision="int8", quantization=told, state_dict=model.state_dict())
    from edgeresnet.host.export.logit_proof import LogitProof

    monkeypatch.setattr(LogitProof, "refuse", lambda *arguments: None)
    export_bundle(checkpoint, target="openvino", precision="int8", out_dir=tmp_path / "b")
    images = np.random.default_rng(0).normal(size=(8, 1, 3, 32, 32)).astype(np.float32)
    core, settings = openvino.Core(), {"PERFORMANCE_HINT": "LATENCY"}
    model_read = core.read_model(str(tmp_path / "b" / "model.xml"))

    def answers(threads: int) -> np.ndarray:
        compiled = core.compile_model(
            model_read, "CPU", settings | {"INFERENCE_NUM_THREADS": threads}
        )
        return np.stack([[compiled(image)[0].copy() for image in images] for _ in range(20)])

    right = answers(1)
    assert np.ptp(right, axis=0).max() == 0
    differ = any(np.abs(answers(2) - right).max() > 0 for _ in range(12))
    assert differ == (channels > 16 and channels % 16 > 0)
