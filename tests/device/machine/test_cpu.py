"""Threads by affinity mask and CPU quota, from files in the layouts that the kernel documents."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.api.opening import open_model
from edgeresnet.device.data import dataset
from edgeresnet.device.data import open as open_module
from edgeresnet.device.data.dataset import batches
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.machine.cpu import cpu_quota, default_threads, runtime_threads, usable_cores
from edgeresnet.device.machine.environment import environment
from edgeresnet.device.measure.profile import profile_model
from edgeresnet.device.targets.onnxruntime_session import session_options
from edgeresnet.device.targets.openvino.compiling import compile_model
from edgeresnet.host.models.torch_threads import resume_threads
from edgeresnet.host.training import batches as batches_module
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.jetson import write_tree

UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST_VERSION = (
    "30 25 0:27 {root} /sys/fs/cgroup/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    "31 25 0:28 {root} /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
)
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct"


def quota_files(cgroup: str, mounts: str, limits: dict[str, str]) -> dict[str, str]:
    return {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **limits}


def v1_limit(group: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {
        f"{V1}{group}/cpu.cfs_quota_us": f"{quota}\n",
        f"{V1}{group}/cpu.cfs_period_us": f"{period}\n",
    }


def cpu_files(allowed: str, online: str, siblings: dict[int, str] | None = None) -> dict[str, str]:
    """Of a machine whose processors ``online`` are cores of their own but for ``siblings``."""
    folder = "sys/devices/system/cpu"
    return {
        "proc/self/status": f"Name:\tpython\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\n",
        f"{folder}/online": f"{online}\n",
        **{
            f"{folder}/cpu{n}/topology/thread_siblings_list": f"{text}\n"
            for n, text in (siblings or {}).items()
        },
    }


@pytest.mark.parametrize(
    ("cgroup", "mounts", "limits", "expected"),
    [
        # A container of its own sees its group at the top.
        ("0::/\n", UNIFIED, {f"{V2}/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", UNIFIED, {f"{V2}/cpu.max": "max 100000\n"}, None),
        # The narrowest group counts, wherever it stands above.
        (
            "0::/kube/pod/box\n",
            UNIFIED,
            {
                f"{V2}/kube/cpu.max": "max 100000\n",
                f"{V2}/kube/pod/cpu.max": "400000 100000\n",
                f"{V2}/kube/pod/box/cpu.max": "600000 100000\n",
            },
            4.0,
        ),
        # A group beside ours does not count.
        ("0::/ours\n", UNIFIED, {f"{V2}/theirs/cpu.max": "100000 100000\n"}, None),
        # Told of the way outside, where nothing is to be seen.
        ("0::/../../box\n", UNIFIED, {f"{V2}/cpu.max": "50000 100000\n"}, 0.5),
        (
            "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
            FIRST_VERSION.format(root="/docker/x"),
            v1_limit("", 200_000),
            2.0,
        ),
        ("4:cpu,cpuacct:/docker/x\n", FIRST_VERSION.format(root="/"), v1_limit("", -1), None),
        (
            "4:cpu,cpuacct:/docker/x\n",
            FIRST_VERSION.format(root="/"),
            v1_limit("/docker", 300_000) | v1_limit("/docker/x", -1),
            3.0,
        ),
        # Both versions at once: the second has no CPU controller then.
        (
            "4:cpu,cpuacct:/x\n0::/\n",
            FIRST_VERSION.format(root="/")
            + "41 25 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            v1_limit("/x", 100_000, 50_000),
            2.0,
        ),
        (
            "0::/\n",
            UNIFIED.replace("cgroup rw,", "a\\040b rw,"),
            {"sys/fs/a b/cpu.max": "7 2"},
            3.5,
        ),
    ],
    ids=[
        "v2",
        "v2-max",
        "v2-nested",
        "v2-neighbour",
        "v2-outside",
        "v1-container",
        "v1-none",
        "v1-nested",
        "both",
        "escaped",
    ],
)
def test_cpu_quota_is_the_narrowest_group_s(
    tmp_path: Path, cgroup: str, mounts: str, limits: dict[str, str], expected: float | None
) -> None:
    root = write_tree(tmp_path, quota_files(cgroup, mounts, limits))
    assert cpu_quota(root) == expected
    assert environment(root)["cpu_quota"] == expected


def test_cpu_quota_is_none_when_nothing_tells(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("allowed", "online", "cores"),
    [("0-3,6", "0-7", 5), ("0-127", "0-1", 2), ("3", "0-3", 1)],
)
def test_usable_cores_are_those_online_that_the_mask_leaves(
    tmp_path: Path, allowed: str, online: str, cores: int
) -> None:
    root = write_tree(tmp_path, cpu_files(allowed, online))
    assert usable_cores(root) == cores
    assert environment(root)["cores"] == cores


@pytest.mark.parametrize(
    ("quota", "threads"), [("max", 8), ("1600000", 8), ("250000", 2), ("50000", 1)]
)
def test_default_threads_are_what_the_quota_pays_for(
    tmp_path: Path, quota: str, threads: int
) -> None:
    limit = {f"{V2}/cpu.max": f"{quota} 100000\n"}
    root = write_tree(tmp_path, cpu_files("0-7", "0-7"), quota_files("0::/\n", UNIFIED, limit))
    assert default_threads(root) == threads


@pytest.mark.parametrize(
    ("allowed", "quota", "threads"),
    [
        ("0-3", "max", None),  # the whole machine: two cores of two threads each
        ("0-3", "300000", None),
        ("0-3", "100000", 1),
        ("0,2", "max", 1),
        ("0,1", "max", None),
    ],
)
def test_runtime_threads_leave_the_choice_to_the_runtime_unless_less_than_the_machine_is_ours(
    tmp_path: Path, allowed: str, quota: str, threads: int | None
) -> None:
    siblings = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    limit = {f"{V2}/cpu.max": f"{quota} 100000\n"}
    root = write_tree(
        tmp_path, cpu_files(allowed, "0-3", siblings), quota_files("0::/\n", UNIFIED, limit)
    )
    assert runtime_threads(None, root) == threads
    assert runtime_threads(3, root) == 3


@pytest.fixture
def one_of_two() -> Iterator[None]:
    """This process may run on one processor only, of a machine that has more."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity mask")
    mask = os.sched_getaffinity(0)
    if len(mask) < 2:
        pytest.skip("needs two processors, and this process may use one")
    os.sched_setaffinity(0, {min(mask)})
    yield
    os.sched_setaffinity(0, mask)


def test_runtimes_take_one_thread_when_one_processor_is_ours(files: Path, one_of_two: None) -> None:
    assert session_options(RunOptions()).intra_op_num_threads == 1
    model_path = files / "openvino-fp32" / "model.xml"
    compiled = compile_model(model_path, "cpu", RunOptions())
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    rows, _ = profile_model(files / "onnx-fp32", open_model)
    assert rows[0]["threads"] == 1


def test_runtimes_take_what_the_quota_pays_for(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeresnet.device.machine.cpu.cpu_quota", lambda root: 1.0)
    monkeypatch.setattr("edgeresnet.device.machine.cpu._online", lambda root: {0, 1})
    assert session_options(RunOptions()).intra_op_num_threads == 1
    compiled = compile_model(files / "openvino-fp32" / "model.xml", "cpu", RunOptions())
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_decoders_are_as_many_as_processors_are_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, one_of_two: None
) -> None:
    counts: list[int] = []

    class Counting(dataset.ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            counts.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(dataset, "ThreadPoolExecutor", Counting)
    monkeypatch.setattr(open_module, "ThreadPoolExecutor", Counting)
    next(batches(open_dataset("digits", "val", limit=4), InputSpec(8), 4))
    from PIL import Image

    for name in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / "0.png")
    open_dataset(str(tmp_path), "val", skip_broken=True)
    loaders: list[dict[str, Any]] = []
    monkeypatch.setattr(
        batches_module, "DataLoader", lambda views, **settings: loaders.append(settings) or []
    )
    batches_module._Stream(SimpleNamespace(), None, torch.device("cpu"))  # type: ignore[arg-type]
    assert counts == [1, 1]
    assert loaders[0]["num_workers"] == 1


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch takes two, and nobody has set a number."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_checkpoint_s_session_keeps_to_the_quota_and_gives_the_threads_back(
    files: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    monkeypatch.setattr("edgeresnet.device.machine.cpu.cpu_quota", lambda root: 1.0)
    with open_model(files / "float.pt"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with open_model(files / "float.pt", options=RunOptions(threads=3)):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with open_model(files / "float.pt"):
        assert torch.get_num_threads() == 2


def test_resume_threads_says_nothing_when_the_number_is_today_s(two_threads: None) -> None:
    told: list[str] = []
    resume_threads(2, told.append)
    resume_threads(None, told.append)
    assert (told, torch.get_num_threads()) == ([], 2)
