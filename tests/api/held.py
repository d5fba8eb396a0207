"""What a process holds after many runs and many openings of a model, as JSON on stdout.

``python -m tests.api.held MODEL RUNS CYCLES``, with ``TMPDIR`` a folder of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgeresnet.api.opening import open_model
from edgeresnet.device.session import Opened

SAMPLES = 20
PAGE_MIB = 4096 / 2**20


@dataclass(frozen=True)
class Held:
    """What Linux says that this process holds."""

    done: int
    rss_mib: float
    handles: int
    threads: int
    python_threads: int
    maps: int
    temporary: int


def held(done: int) -> Held:
    own = Path("/proc/self")
    return Held(
        done=done,
        rss_mib=int((own / "statm").read_text().split()[1]) * PAGE_MIB,
        # Without the one that lists them.
        handles=len(list((own / "fd").iterdir())) - 1,
        threads=len(list((own / "task").iterdir())),
        python_threads=threading.active_count(),
        maps=(own / "maps").read_text().count("\n"),
        # PyTorch keeps a folder of its own there.
        temporary=len(list(Path(tempfile.gettempdir()).glob("edgeresnet-*"))),
    )


def images(model: Opened) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (model.session.batch_sizes[0], *model.session.input_shape)
    return rng.standard_normal(shape).astype(np.float32)


def runs(path: Path, count: int) -> list[Held]:
    """``count`` runs of one session, looked at now and then."""
    with open_model(path) as model:
        batch = images(model)
        samples = []
        for done in range(1, count + 1):
            model.session.run(batch)
            if done % (count // SAMPLES) == 0:
                samples.append(held(done))
        return samples


def cycles(path: Path, count: int) -> list[Held]:
    """``count`` times opened, run and closed, looked at after each."""
    samples = []
    for done in range(1, count + 1):
        with open_model(path) as model:
            model.session.run(images(model))
        samples.append(held(done))
    return samples


if __name__ == "__main__":
    model_path, run_count, cycle_count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    result = {"runs": runs(model_path, run_count), "cycles": cycles(model_path, cycle_count)}
    print(json.dumps({name: [asdict(one) for one in some] for name, some in result.items()}))
