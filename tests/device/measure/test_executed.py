"""Precisions that a manifest tells of layers, against kernels whose names are another's."""

from __future__ import annotations

import pytest

from edgeresnet.device.measure.executed import precision_faults
from edgeresnet.device.targets.protocol import Kernel


def conv(name: str, precision: str = "fp32") -> Kernel:
    return Kernel("Conv", precision, "cpu", (name,))


def layer(name: str, precision: str | None = "fp32") -> dict[str, str | None]:
    return {"name": name, "op": "Conv", "precision": precision}


POOL = Kernel("MaxPool", "fp32", "cpu", ("pool",))


@pytest.mark.parametrize(
    ("kernels", "adopted", "faults"),
    [
        ([conv("a"), conv("relu"), POOL], True, 0),
        # Of our own networks every runtime keeps the names.
        ([conv("a"), conv("relu"), POOL], False, 1),
        # None is left that the other layer could be.
        ([conv("a"), POOL], True, 1),
        ([conv("a"), conv("relu", "int8"), POOL], True, 1),
    ],
)
def test_precision_faults_takes_other_names_only_of_somebody_elses_layers_in_float(
    kernels: list[Kernel], adopted: bool, faults: int
) -> None:
    layers = [layer("a"), layer("b")]
    assert len(precision_faults(layers, kernels, "fp32", adopted=adopted)) == faults


def test_precision_faults_names_the_layer_when_one_in_integers_is_missing() -> None:
    layers, kernels = [layer("a", "int8"), layer("b", "int8")], [conv("a", "int8"), conv("relu")]
    (fault,) = precision_faults(layers, kernels, "int8", adopted=True)
    assert "b (int8) is in none" in fault
