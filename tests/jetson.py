"""A Jetson's files as its documentation lays them out, in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ORIN_NANO = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/meminfo": "MemTotal:        7802972 kB\nMemAvailable:    5242880 kB\n"
    "SwapTotal:       3901480 kB\nSwapFree:        3850280 kB\n",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, "
    "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n",
    "etc/nvpmodel.conf": "< PARAM TYPE=CLOCK NAME=GPU >\n\n< POWER_MODEL ID=0 NAME=15W >\n"
    "CPU_ONLINE CORE_0 1\n\n< POWER_MODEL ID=1 NAME=25W >\n\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n\n< PM_CONFIG DEFAULT=1 >\n",
    "var/lib/nvpmodel/status": "pmode:0000\n",
    "var/lib/dpkg/status": "Package: nvidia-jetpack-dev\nStatus: install ok installed\n"
    "Version: 1\n\nPackage: nvidia-jetpack\nStatus: install ok installed\nPriority: standard\n"
    "Version: 6.2+b77\nDescription: NVIDIA Jetpack Meta Package\n\n",
    "sys/devices/system/cpu/cpufreq/policy0/affected_cpus": "0 1 2 3\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "729600\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "729600\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1510400\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "612000000\n",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48687\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000\n",
    # The unit is off: the kernel answers with an error, which reads as no number.
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "2\n",
    "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
    "sys/class/thermal/cooling_device1/cur_state": "0\n",
    "sys/class/thermal/cooling_device2/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device2/cur_state": "0\n",
    "sys/class/hwmon/hwmon2/oc1_event_cnt": "4\n",
    "sys/kernel/debug/nvmap/iovmm/clients": "CLIENT   PROCESS  PID  SIZE\n"
    "user     python   4711  204800K\ntotal                  307200K\n",
}
# JetPack 5 and later: the kernel's own driver, in hwmon.
HWMON = "sys/bus/i2c/devices/1-0040/hwmon/hwmon1"
INA3221_HWMON = {
    "sys/bus/i2c/devices/1-0040/name": "ina3221\n",
    f"{HWMON}/name": "ina3221\n",
    f"{HWMON}/in1_label": "VDD_IN\n",
    f"{HWMON}/in1_input": "5000\n",
    f"{HWMON}/curr1_input": "1200\n",
    f"{HWMON}/in2_label": "VDD_CPU_GPU_CV\n",
    f"{HWMON}/in2_input": "5000\n",
    f"{HWMON}/curr2_input": "400\n",
    f"{HWMON}/in3_label": "VDD_SOC\n",
    f"{HWMON}/in3_input": "5000\n",
    f"{HWMON}/curr3_input": "300\n",
    f"{HWMON}/in7_label": "sum of shunt voltages\n",
    f"{HWMON}/in7_input": "9\n",
    "sys/bus/i2c/devices/1-0050/name": "24c02\n",
}
# JetPack 4 on an AGX Xavier: NVIDIA's driver, in iio; no rail is the total.
IIO = "sys/bus/i2c/devices/1-0040/iio:device0"
INA3221_IIO = {
    "sys/bus/i2c/devices/1-0040/name": "ina3221x\n",
    f"{IIO}/rail_name_0": "GPU\n",
    f"{IIO}/in_power0_input": "1500\n",
    f"{IIO}/rail_name_1": "CPU\n",
    f"{IIO}/in_power1_input": "700\n",
    f"{IIO}/rail_name_2": "NC\n",
    f"{IIO}/in_power2_input": "9999\n",
}


def write_tree(root: Path, *trees: Mapping[str, str]) -> Path:
    """Write the files of all trees; of two with the same path, the later one's."""
    for tree in trees:
        for path, text in tree.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return root
