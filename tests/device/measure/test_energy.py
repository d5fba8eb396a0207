"""Energy: sensors in their documented layouts, and the integral against known signals."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from rich.console import Console

from edgeresnet.api.opening import open_model
from edgeresnet.device.machine.power_sensors import find_meter, find_rapl
from edgeresnet.device.measure.energy import Energy, Recorder, integrate_j, measure_energy
from edgeresnet.device.measure.profile import _energy, profile_model
from edgeresnet.report.steadiness import no_energy_lines
from edgeresnet.report.tables import energy_table
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.fakes import FakeSession, opened
from tests.jetson import HWMON, INA3221_HWMON, INA3221_IIO, ORIN_NANO, write_tree

RAPL = {
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "999000000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "1000000000\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "5\n",
    "sys/class/powercap/intel-rapl:0:1/name": "dram\n",
    "sys/class/powercap/intel-rapl:0:1/energy_uj": "1000000\n",
    "sys/class/powercap/intel-rapl:0:1/max_energy_range_uj": "1000000000\n",
    # The whole platform would count the package twice.
    "sys/class/powercap/intel-rapl:1/name": "psys\n",
    "sys/class/powercap/intel-rapl:1/energy_uj": "7\n",
}


class Waveform:
    """A meter of a known signal: 4 W at rest, 10 W while ``busy`` is set."""

    kind: Literal["power", "energy"] = "power"
    name = "waveform"

    def __init__(self) -> None:
        self.busy = False

    def read(self) -> float:
        return 10.0 if self.busy else 4.0


def test_meter_reads_the_total_rail_when_a_jetson_has_one(tmp_path: Path) -> None:
    meter, _ = find_meter(write_tree(tmp_path, INA3221_HWMON))
    assert meter is not None
    assert meter.name == "ina3221 VDD_IN"
    assert meter.read() == pytest.approx(6.0)


def test_meter_adds_connected_rails_when_none_is_the_total(tmp_path: Path) -> None:
    agx_orin = {
        f"{HWMON}/in1_label": "VDD_GPU_SOC\n",
        f"{HWMON}/in2_label": "VDD_CPU_CV\n",
        f"{HWMON}/in3_enable": "0\n",
    }
    meter, _ = find_meter(write_tree(tmp_path, INA3221_HWMON, agx_orin))
    assert meter is not None
    assert meter.name == "ina3221 VDD_GPU_SOC+VDD_CPU_CV"
    assert meter.read() == pytest.approx(6.0 + 2.0)


def test_meter_reads_the_older_layout_when_on_jetpack_4(tmp_path: Path) -> None:
    meter, _ = find_meter(write_tree(tmp_path, INA3221_IIO))
    assert meter is not None
    assert meter.name == "ina3221 GPU+CPU"
    assert meter.read() == pytest.approx(2.2)


def test_rapl_counts_on_when_its_counter_wraps(tmp_path: Path) -> None:
    root = write_tree(tmp_path, RAPL)
    assert [path.name for path in find_rapl(root)] == ["intel-rapl:0", "intel-rapl:0:1"]
    meter, _ = find_meter(root)
    assert meter is not None
    assert (meter.name, meter.kind) == ("rapl package-0+dram", "energy")
    write_tree(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "3000000\n"})
    assert meter.read() == pytest.approx(4.0)
    write_tree(root, {"sys/class/powercap/intel-rapl:0:1/energy_uj": "1500000\n"})
    assert meter.read() == pytest.approx(4.5)


def test_meter_tells_the_command_when_the_counters_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path, RAPL)
    real = Path.read_text

    def closed(path: Path, *args: object, **kwargs: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", closed)
    meter, reason = find_meter(root)
    assert meter is None
    assert reason is not None
    assert "sudo chmod a+r" in reason


def test_meter_names_the_extra_when_an_nvidia_gpu_has_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter, reason = find_meter(tmp_path, nvidia_gpu=True)
    assert meter is None
    assert reason is not None
    assert "edgeresnet[nvml]" in reason


@pytest.mark.parametrize("kind", ["power", "energy"])
def test_integral_is_exact_when_the_signal_is_known(kind: Literal["power", "energy"]) -> None:
    # Power 5 + 3 sin(2 pi t), sampled unevenly; its integral is 5 t - 3 (cos(2 pi t) - 1) / 2 pi.
    times = np.sort(np.random.default_rng(0).uniform(0, 2, 4000))
    power, energy = (
        5 + 3 * np.sin(2 * np.pi * times),
        5 * times - 3 * (np.cos(2 * np.pi * times) - 1) / (2 * np.pi),
    )
    values = power if kind == "power" else energy
    start, end = 0.3, 1.55
    truth = 5 * (end - start) - 3 * (np.cos(2 * np.pi * end) - np.cos(2 * np.pi * start)) / (
        2 * np.pi
    )
    assert integrate_j(times, values, kind, start, end) == pytest.approx(truth, rel=1e-4)


def test_integral_is_the_trapezoid_when_samples_are_few() -> None:
    times, power = np.array([0.0, 1.0, 3.0]), np.array([2.0, 4.0, 0.0])
    assert integrate_j(times, power, "power", 0.0, 3.0) == pytest.approx(3.0 + 4.0)
    # From half-way up the first slope to half-way down the second.
    assert integrate_j(times, power, "power", 0.5, 2.0) == pytest.approx(1.75 + 3.0)


def test_energy_leaves_idle_out_when_the_load_is_known() -> None:
    meter = Waveform()

    def run() -> None:
        meter.busy = True
        time.sleep(0.02)

    found = measure_energy(run, meter, batch=4, seconds=0.5, idle_seconds=0.2, settle_seconds=0.0)
    assert found.idle_power_w == pytest.approx(4.0)
    assert found.power_w == pytest.approx(10.0, rel=0.05)
    # A run of 4 inputs takes a little over 20 ms, 6 W above idle: 30 mJ an input, 50 mJ in all.
    assert 28 <= found.energy_mj <= 45
    assert found.energy_with_idle_mj / found.energy_mj == pytest.approx(10 / 6, rel=0.08)
    assert found.power_samples >= 10
    assert found.to_dict()["images_per_joule"] == pytest.approx(1e3 / found.energy_mj)


def test_no_sensor_is_a_result_that_says_so(tmp_path: Path) -> None:
    model = opened("m", FakeSession(lambda x: x), InputSpec(8))
    figures, warnings = _energy(model, np.zeros((1, 3, 8, 8), np.float32), tmp_path)
    assert (set(figures), warnings) == ({"energy"}, [])
    assert figures["energy"]["sensor"] is None
    assert figures["energy"]["reason"].startswith("no sensor of power or energy here")
    assert no_energy_lines([{**figures, "warnings": []}]) == [
        f"energy: {figures['energy']['reason']}"
    ]


def test_images_per_joule_are_none_when_the_runs_took_no_more_than_idling() -> None:
    assert Energy(6.0, 6.0, 0.0, 5.0, 9, "x").to_dict()["images_per_joule"] is None


def test_recorder_raises_when_the_sensor_stops_answering() -> None:
    class Broken(Waveform):
        def read(self) -> float:
            raise OSError(121, "Remote I/O error")

    with pytest.raises(OSError, match="Remote I/O"), Recorder(Broken()):
        pass


def test_profile_reports_energy_and_board_when_a_sensor_exists(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    root = write_tree(tmp_path, ORIN_NANO, INA3221_HWMON)
    (row,), _ = profile_model(
        files / "onnx-int8", open_model, options=RunOptions(threads=1), root=root
    )
    assert row["power_sensor"] == "ina3221 VDD_IN"
    assert row["power_w"] == pytest.approx(6.0)
    assert row["idle_power_w"] == pytest.approx(6.0)
    assert row["energy_mj"] == pytest.approx(0.0, abs=1e-9)
    # Of other runs than the timed ones, which a busy machine may hold up.
    assert 0.1 < row["energy_with_idle_mj"] / (6.0 * row["mean_ms"]) < 10
    console = Console(width=80)
    with console.capture() as shown:
        console.print(energy_table([row, {"batch": 8}]))
    assert "Energy · ina3221 VDD_IN" in shown.get()
    assert f"{row['energy_with_idle_mj']:.2f}" in shown.get()
    assert row["board"]["before"]["power_mode"] == "15W"
    assert row["board"]["after"]["memory"]["unified"]
    assert any("sudo nvpmodel -m 2" in warning for warning in row["warnings"])


def test_profile_warns_and_goes_on_when_a_sensor_breaks(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path, INA3221_HWMON, {f"{HWMON}/curr1_input": "\n"})
    (row,), _ = profile_model(
        files / "onnx-int8", open_model, options=RunOptions(threads=1), root=root
    )
    assert "energy_mj" not in row
    assert any("stopped answering" in warning for warning in row["warnings"])
