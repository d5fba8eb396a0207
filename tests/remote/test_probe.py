"""The device's end, started by whatever Python is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeresnet.remote import probe


@pytest.mark.parametrize(
    ("version", "code", "told"), [((3, 9, 18), 1, b""), ((3, 10, 0), 0, b'["none-such>=1"]')]
)
def test_missing_is_answered_only_by_a_python_that_can_run_edgeresnet(
    version: tuple[int, ...], code: int, told: bytes
) -> None:
    source = f"import sys\nsys.version_info = {version}\n" + Path(probe.__file__).read_text(
        encoding="utf-8"
    ).replace("from __future__ import annotations\n", "")
    asked = [json.dumps(["none-such>=1"]), json.dumps([])]
    done = subprocess.run(
        [sys.executable, "-", "missing", *asked],
        input=source.encode(), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (code, told), done.stderr
