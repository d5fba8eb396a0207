"""What real disturbances are called: a neighbour that starts in the middle, threads above cores.

Run it on a quiet machine: ``python -m tests.benchmarks.real_series MODEL``, a bundle for the
processor. Each case is profiled by the command, and its words are printed: those of the series of
runs (drift, bimodal, spikes) and those of the machine (load, threads).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from edgeresnet.device.machine.cpu import usable_cores
from tests.benchmarks.shared_machine import neighbours

LATER_S, LASTING_S = 2.0, 60.0


def profile(model: str, *options: str) -> dict[str, object]:
    """The row that the command writes."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "row.json"
        subprocess.run(
            [sys.executable, "-m", "edgeresnet", "profile", model, "-q", "--json", str(path),
             *options],
            check=True,
        )  # fmt: skip
        row: dict[str, object] = json.loads(path.read_text())["batches"][0]
        return row


def with_neighbour(model: str) -> dict[str, object]:
    """A neighbour on every processor, from some seconds after the start on."""
    done = threading.Event()

    def disturb() -> None:
        time.sleep(LATER_S)
        with neighbours(usable_cores()):
            done.wait(LASTING_S)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        return profile(model)
    finally:
        done.set()
        thread.join()


def main(model: str) -> None:
    """Print each case with its words."""
    above = str(2 * usable_cores())
    cases = {
        "alone": lambda: profile(model),
        "a neighbour in the middle": lambda: with_neighbour(model),
        f"{above} threads": lambda: profile(model, "--threads", above),
    }
    for name, case in cases.items():
        told = case()["stability"]
        assert isinstance(told, dict)
        words = [finding["word"] for finding in told["findings"]] or ["steady"]
        print(f"{name}: {', '.join(words)}")
        for finding in told["findings"]:
            print(f"  {finding['word']}: {finding['cause']}")


if __name__ == "__main__":
    main(sys.argv[1])
