"""A device can refuse what its owner did not make: signed bundles, and what is outside of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.api.inspect import inspect
from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.build import build_bundle
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.signature import check_signature, signer_of
from edgeresnet.device.targets.engine_record import write_engine
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import InputError, MissingError
from edgeresnet.settings.measuring import RunOptions
from tests.conftest import Command
from tests.small_bundles import write_small_bundle

serialization = pytest.importorskip(
    "cryptography.hazmat.primitives.serialization", reason="extra [sign] is not installed"
)
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: E402


def write_keys(folder: Path, name: str, kind: str = "pem") -> tuple[Path, str]:
    """A new private key, and its public half."""
    key = ed25519.Ed25519PrivateKey.generate()
    own = (
        serialization.PrivateFormat.OpenSSH if kind == "ssh" else serialization.PrivateFormat.PKCS8
    )
    public = (
        (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        if kind == "ssh"
        else (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    plain = serialization.NoEncryption()
    private_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, own, plain))
    public_path.write_bytes(key.public_key().public_bytes(*public))
    return private_path, str(public_path)


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return write_keys(tmp_path_factory.mktemp("keys"), "owner")


@pytest.fixture
def signed(owner: tuple[Path, str], tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "b", sign=signer_of(owner[0]))


def test_a_signed_bundle_opens_with_its_owners_key_and_without(
    signed: Path, owner: tuple[Path, str]
) -> None:
    for trust in (None, owner[1]):
        with open_model(signed, options=RunOptions(trust=trust)) as opened:
            assert opened.target == "onnx"


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz", "manifest.json.sig"])
def test_an_altered_bundle_is_refused(signed: Path, owner: tuple[Path, str], name: str) -> None:
    content = bytearray((signed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (signed / name).write_bytes(content)
    with pytest.raises(InputError, match=r"is not what the owner|sha256 differs"):
        load_bundle(signed, trust=owner[1])


def test_a_strangers_signature_is_refused(signed: Path, tmp_path: Path) -> None:
    _, other = write_keys(tmp_path, "other")
    with pytest.raises(InputError, match=r"is not what the owner of .*other\.pub signed"):
        load_bundle(signed, trust=other)


def test_an_unsigned_bundle_is_refused(owner: tuple[Path, str], tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    with pytest.raises(InputError, match=r"is not signed: it has no manifest\.json\.sig"):
        load_bundle(bundle, trust=owner[1])


def test_what_is_no_bundle_cannot_be_trusted(signed: Path, owner: tuple[Path, str]) -> None:
    for use in (
        lambda path: open_model(path, options=RunOptions(trust=owner[1])).__enter__(),
        lambda path: inspect(path, trust=owner[1]),
    ):
        with pytest.raises(InputError, match="vouches for signed bundles only"):
            use(signed / "model.onnx")


def test_keys_of_openssh_sign_too(tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, "mine", "ssh")
    bundle = write_small_bundle(tmp_path / "b", sign=signer_of(private))
    assert load_bundle(bundle, trust=public).manifest.target == "onnx"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_finds_the_same_signature_right(signed: Path, owner: tuple[Path, str]) -> None:
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", owner[1], "-rawin", "-in",
         signed / "manifest.json", "-sigfile", signed / "manifest.json.sig"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Signature Verified Successfully" in done.stdout


def test_what_is_no_key_is_refused(signed: Path, owner: tuple[Path, str], tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    plain, encrypted = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"x")
    pem, own = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files = {
        "text": b"key",
        "curve": other.private_bytes(pem, own, plain),
        "locked": ed25519.Ed25519PrivateKey.generate().private_bytes(pem, own, encrypted),
        "public": Path(owner[1]).read_bytes(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"no private key|no Ed25519"):
            signer_of(tmp_path / name)
    for path in (tmp_path / "text", owner[0]):
        with pytest.raises(InputError, match="no public key"):
            check_signature(signed, b"", str(path))


def test_without_the_package_it_is_missing(
    signed: Path, owner: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingError, match=r"edgeresnet\[sign\]"):
        signer_of(owner[0])
    code, _, err = command("inspect", signed, "--trust", owner[1])
    assert code == 3
    assert "pip install 'edgeresnet[sign]'" in err


def test_an_engine_of_a_trusted_bundle_is_this_users_own(
    signed: Path, owner: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target: Any = TARGETS["onnx"]

    def save(model_path: Path, device: str, engine_dir: Path, options: object) -> Path:
        return write_engine(engine_dir / "cpu.bin", b"mine", model_path, {"device": device})

    monkeypatch.setattr(type(target), "save_engine", staticmethod(save))
    before = {p.name: p.read_bytes() for p in signed.iterdir()}
    engine = build_bundle(signed, trust=owner[1])
    assert engine is not None
    assert not engine.is_relative_to(signed)
    assert {p.name: p.read_bytes() for p in signed.iterdir()} == before
    bundle = load_bundle(signed, trust=owner[1])
    assert bundle.engine_dir == engine.parent
    # What lies in the bundle is a stranger's, and is not looked at.
    (signed / "engines").mkdir()
    (signed / "engines" / "x.json").write_text("no record")
    assert [e["file"] for e in inspect(signed, trust=owner[1])["engines"]] == ["cpu.bin"]
    # Of another manifest it is none.
    other = write_small_bundle(signed.with_name("c"), "openvino", sign=signer_of(owner[0]))
    assert load_bundle(other, trust=owner[1]).engine_dir != engine.parent


def test_an_engine_that_is_built_into_a_signed_bundle_leaves_its_signature(
    signed: Path, owner: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(model_path: Path, device: str, engine_dir: Path, options: object) -> Path:
        return write_engine(engine_dir / "cpu.bin", b"mine", model_path, {"device": device})

    monkeypatch.setattr(type(TARGETS["onnx"]), "save_engine", staticmethod(save))
    assert build_bundle(signed) == signed / "engines" / "cpu.bin"
    assert "engines/cpu.bin" not in json.loads((signed / "manifest.json").read_text())["files"]
    assert load_bundle(signed, trust=owner[1]).manifest == load_bundle(signed).manifest


def test_another_manifest_is_not_what_was_signed(signed: Path, owner: tuple[Path, str]) -> None:
    manifest = load_bundle(signed).manifest
    (signed / "manifest.json").write_text(replace(manifest, arch="resnet34").to_json())
    assert load_bundle(signed).manifest.arch == "resnet34"
    with pytest.raises(InputError, match="is not what the owner"):
        load_bundle(signed, trust=owner[1])


def test_trust_is_no_option_of_a_command_elsewhere(
    signed: Path, owner: tuple[Path, str], command: Command
) -> None:
    code, _, err = command("build", signed, "--trust", owner[1], "--on", "ssh://nobody@nowhere")
    assert code == 2
    assert "--trust names a key here" in err


def test_export_signs_and_refuses_what_is_no_key_before_its_work(
    files: Path, owner: tuple[Path, str], tmp_path: Path, command: Command
) -> None:
    bundle = tmp_path / "b"
    wanted = ("export", files / "float.pt", "--data", "digits", "--limit", 16, "-o", bundle)
    code, out, err = command(*wanted, "--sign", owner[1])
    assert (code, "no private key" in err, out) == (2, True, "")
    assert not bundle.exists()
    code, _, err = command(*wanted, "--sign", owner[0])
    assert (code, (bundle / "manifest.json.sig").stat().st_size) == (0, 64), err
    code, out, err = command("inspect", bundle, "--trust", owner[1])
    assert (code, "resnet18" in out) == (0, True), err
