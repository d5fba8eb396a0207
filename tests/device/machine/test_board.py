"""Board state, from files in the layouts that NVIDIA and the kernel document."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeresnet.device.machine.board import (
    board_state,
    board_warnings,
    identity,
    l4t_release,
    max_power_mode,
)
from edgeresnet.device.machine.environment import environment, fingerprint
from tests.jetson import ORIN_NANO, write_tree


@pytest.fixture
def no_nvpmodel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_identity_names_board_releases_and_mode_when_on_a_jetson(
    tmp_path: Path, no_nvpmodel: None
) -> None:
    assert identity(write_tree(tmp_path, ORIN_NANO)) == {
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.3",
        "jetpack": "6.2+b77",
        "power_mode": "15W",
    }
    assert environment(tmp_path)["board"]["l4t"] == "36.4.3"


def test_identity_is_empty_when_on_another_machine(tmp_path: Path) -> None:
    assert identity(tmp_path) == {}


def test_l4t_release_is_read_from_packages_when_in_a_container(tmp_path: Path) -> None:
    status = "Package: nvidia-l4t-core\nArchitecture: arm64\nVersion: 35.4.1-20230801124926\n"
    write_tree(tmp_path, {"var/lib/dpkg/status": status})
    assert l4t_release(tmp_path) == "35.4.1"


def test_power_mode_is_nvpmodels_when_the_program_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvpmodel"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = -q ] && printf "NV Power Mode: 25W\\n1\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    root = write_tree(tmp_path / "root", ORIN_NANO)
    assert identity(root)["power_mode"] == "25W"


def test_power_mode_is_the_default_when_none_was_ever_set(
    tmp_path: Path, no_nvpmodel: None
) -> None:
    root = write_tree(tmp_path, ORIN_NANO)
    (root / "var/lib/nvpmodel/status").unlink()
    assert identity(root)["power_mode"] == "25W"


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ({0: "MAXN", 1: "MODE_15W"}, (0, "MAXN")),
        ({0: "15W", 1: "25W", 2: "MAXN_SUPER", 3: "7W"}, (2, "MAXN_SUPER")),
        ({0: "MAXN", 4: "MAXN_SUPER"}, (4, "MAXN_SUPER")),
        # Xavier NX: six modes of 10 to 20 W, none unlimited.
        ({0: "MODE_15W_2CORE", 2: "MODE_15W_6CORE", 8: "MODE_20W_6CORE"}, (8, "MODE_20W_6CORE")),
        ({0: "15W", 1: "7W"}, (0, "15W")),
        ({}, None),
    ],
)
def test_max_power_mode_is_the_fastest_when_numbers_say_nothing(
    tmp_path: Path, modes: dict[int, str], expected: tuple[int, str] | None
) -> None:
    text = "".join(f"< POWER_MODEL ID={n} NAME={name} >\n" for n, name in modes.items())
    write_tree(tmp_path, {"etc/nvpmodel.conf": text})
    assert max_power_mode(tmp_path) == expected


def test_state_has_every_figure_when_on_a_jetson(tmp_path: Path, no_nvpmodel: None) -> None:
    state = board_state(write_tree(tmp_path, ORIN_NANO)).to_dict()
    assert state["power_mode"] == "15W"
    assert state["max_power_mode"] == [2, "MAXN_SUPER"]
    assert state["clocks"] == [
        {
            "name": "cpu0-3", "now_mhz": 729.6, "min_mhz": 729.6, "max_mhz": 1510.4,
            "governor": "schedutil",
        },
        {
            "name": "17000000.gpu", "now_mhz": 306.0, "min_mhz": 306.0, "max_mhz": 612.0,
            "governor": "nvhost_podgov",
        },
    ]  # fmt: skip
    assert state["temperatures_c"] == {"cpu-thermal": pytest.approx(48.687)}
    assert state["throttling"] == []
    assert state["throttle_events"] == {"over-current": 4, "thermal": 0}
    assert state["memory"] == {
        "unified": True, "total_mib": 7620, "available_mib": 5120, "swap_used_mib": 50,
        "gpu_mib": 300,
    }  # fmt: skip


def test_warnings_say_what_to_do_when_the_board_is_not_at_its_best(
    tmp_path: Path, no_nvpmodel: None
) -> None:
    root = write_tree(tmp_path, ORIN_NANO)
    before = board_state(root)
    thermal = "sys/class/thermal"
    write_tree(
        root,
        {
            f"{thermal}/cooling_device2/cur_state": "1\n",
            f"{thermal}/thermal_zone0/temp": "99500\n",
            "sys/class/hwmon/hwmon2/oc1_event_cnt": "6\n",
        },
    )
    warnings = board_warnings(before, board_state(root))
    told = "\n".join(warnings)
    assert len(warnings) == 4, told
    assert "15W, not MAXN_SUPER" in told
    assert "sudo nvpmodel -m 2" in told
    assert "throttled after measuring by gpu-throttle-alert, cpu-thermal at 100 °C" in told
    assert "throttled 2 times while measuring, cause: over-current" in told
    assert "cpu0-3, 17000000.gpu follow the load: sudo jetson_clocks" in told


def test_warnings_are_none_when_the_board_is_at_its_best(tmp_path: Path, no_nvpmodel: None) -> None:
    root = write_tree(
        tmp_path,
        ORIN_NANO,
        {
            "var/lib/nvpmodel/status": "pmode:0002\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "1510400\n",
            "sys/class/devfreq/17000000.gpu/min_freq": "612000000\n",
        },
    )
    assert board_warnings(board_state(root), board_state(root)) == []


def test_warnings_are_none_when_on_an_idle_x86(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {
            "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "800000\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "4800000\n",
            "sys/class/thermal/cooling_device0/type": "Processor\n",
            "sys/class/thermal/cooling_device0/cur_state": "0\n",
            # Off reads as -1.
            "sys/class/thermal/cooling_device1/type": "intel_powerclamp\n",
            "sys/class/thermal/cooling_device1/cur_state": "-1\n",
        },
    )
    state = board_state(root)
    assert board_warnings(state, state) == []
    assert state.clocks[0].max_mhz == 4800.0


def test_fingerprint_changes_when_the_power_mode_does(tmp_path: Path, no_nvpmodel: None) -> None:
    root = write_tree(tmp_path, ORIN_NANO)
    before = fingerprint(root)
    write_tree(root, {"var/lib/nvpmodel/status": "pmode:0002\n"})
    assert fingerprint(root) != before
