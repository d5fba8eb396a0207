"""The Jetson's image, as far as a machine without a container engine can tell."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

from tests.copies import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile.jetson"


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    return subprocess.run(
        [str(program), "--no-color", str(path)], capture_output=True, text=True, check=False
    )


def test_dockerfile_is_clean_when_linted(tmp_path: Path) -> None:
    found = hadolint(DOCKERFILE)
    assert (found.returncode, found.stdout) == (0, "")
    # The same linter does object to what the file must not become.
    spoilt = tmp_path / "Dockerfile"
    spoilt.write_text(DOCKERFILE.read_text().replace(" --no-install-recommends", ""))
    assert "DL3015" in hadolint(spoilt).stdout


def test_dockerfile_copies_only_files_that_exist() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE.read_text(), re.M)
    sources = [name for line in copied for name in line.split()]
    assert "pyproject.toml" in sources
    assert all((REPOSITORY / name).exists() for name in sources)


def test_dockerfile_installs_the_base_when_torch_has_no_place_there() -> None:
    steps = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(steps)
    assert "pip install --no-cache-dir '/opt/edgeresnet[jetson]'\n" in text
    assert "--system-site-packages" in text
    assert "torch" not in text
    assert re.search(r"^USER (?!0\b|root\b)\S+$", text, re.M)
    assert 'CMD ["edgeresnet", "devices"' in text
