"""What is fetched is what it is known to be, or is not there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edgeresnet.device.data.download import RemoteFile, download
from edgeresnet.errors import InputError

CONTENT = bytes(range(256)) * 5000


class Server(BaseHTTPRequestHandler):
    """Gives `CONTENT`, and at ``/cut`` only its first half."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/cut" else CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_download_writes_the_file_and_says_where_it_is_from(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(RemoteFile(f"{url}/whole", SHA256), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    told = capsys.readouterr()
    assert f"fetching {url}/whole" in told.err
    assert told.out == ""


@pytest.mark.parametrize(("path", "digest"), [("whole", "0" * 64), ("cut", SHA256)])
def test_download_leaves_nothing_when_the_hash_is_another(
    url: str, tmp_path: Path, path: str, digest: str
) -> None:
    with pytest.raises(InputError, match="not the file it is known for"):
        download(RemoteFile(f"{url}/{path}", digest), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_download_raises_when_there_is_no_such_file(url: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="404"):
        download(RemoteFile(f"{url}/gone", SHA256), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
