"""On which processors sums of 8-bit products saturate, and what is refused there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeresnet.api.devices import devices
from edgeresnet.device.machine import saturation
from edgeresnet.device.machine.saturation import (
    check_products,
    products_saturate,
    saturates_here,
    saturates_on,
)
from edgeresnet.errors import InputError


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", ["avx2"], True),
        ("AMD64", [], True),
        ("x86_64", ["avx2", "avx512f"], True),
        ("x86_64", ["avx2", "avx_vnni"], False),
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], False),
        ("x86_64", ["amx_int8"], False),
        ("aarch64", ["asimd"], False),
        ("arm64", [], False),
    ],
)
def test_products_saturate_on_x86_without_wide_sums(
    machine: str, flags: list[str], saturates: bool
) -> None:
    assert products_saturate(machine, flags) is saturates


def test_a_device_is_what_its_description_says(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    path.write_text(json.dumps(devices()))
    assert saturates_on(path) is saturates_here() is saturates_on(None)
    told = {"schema": 1, "environment": {"machine": "x86_64", "cpu_flags": ["avx_vnni"]}}
    path.write_text(json.dumps(told))
    assert saturates_on(path) is False
    assert saturates_on("any") is True


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"environment": {"machine": 3}}'])
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "device.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        saturates_on(path)
    assert "edgeresnet devices --json FILE" in caught.value.fix


def test_what_saturates_is_refused_where_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, "saturates_here", lambda: True)
    with pytest.raises(
        InputError, match="bundle b has 8-bit weights whose sums saturate"
    ) as caught:
        check_products("bundle b", safe=False, device="cpu")
    assert "--for-device any" in caught.value.fix
    check_products("bundle b", safe=False, device="gpu")
    check_products("bundle b", safe=True, device="cpu")
    # Of an older bundle nobody says; its golden logits are checked all the same.
    check_products("bundle b", safe=None, device="cpu")
    monkeypatch.setattr(saturation, "saturates_here", lambda: False)
    check_products("bundle b", safe=False, device="cpu")
