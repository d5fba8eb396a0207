"""Signed bundles: Ed25519 over the very bytes of `manifest.json`, which has the hash of the rest.

The signature is the 64 bytes of ``manifest.json.sig``, as ``openssl pkeyutl -rawin`` makes and
checks them. Engines are no part of it: what a device compiles is the device's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeresnet.device.bundle.manifest import SIGNATURE
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.files.places import cache_dir, from_home
from edgeresnet.untrusted import read_bytes

Signer = Callable[[bytes], bytes]
SIGNATURE_BYTES, MOST_KEY_BYTES = 64, 1 << 16
NEW_KEY = (
    "openssl genpkey -algorithm ed25519 -out owner.pem, and its public half with openssl pkey -in "
    "owner.pem -pubout -out owner.pub"
)


def signer_of(key_path: Path) -> Signer:
    """What signs with a private key, PEM or OpenSSH's.

    Raises:
        InputError: it is no Ed25519 key, or one with a passphrase.
        MissingError: the package that signs is not here.
    """
    serialization, ed25519 = _cryptography("--sign")
    content = read_bytes(key_path, "key", most_bytes=MOST_KEY_BYTES)
    openssh = b"BEGIN OPENSSH PRIVATE KEY" in content
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    key = _loaded(load, content, key_path, "private", password=None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"--sign {key_path} is no Ed25519 private key", f"make one: {NEW_KEY}.")

    def sign(content: bytes) -> bytes:
        return bytes(key.sign(content))

    return sign


def check_signature(bundle_dir: Path, manifest: bytes, trusted: str) -> None:
    """Refuse a bundle whose manifest was not signed by the owner of a key.

    Args:
        bundle_dir: of the bundle.
        manifest: the bytes that were read.
        trusted: path of the public key, PEM or OpenSSH's.

    Raises:
        InputError: it is not signed, or not by that key, or altered since; or that is no key.
        MissingError: the package that checks it is not here.
    """
    serialization, ed25519 = _cryptography("--trust")
    key_path = from_home(trusted)
    content = read_bytes(key_path, "key", most_bytes=MOST_KEY_BYTES)
    openssh = content.startswith(b"ssh-")
    load = serialization.load_ssh_public_key if openssh else serialization.load_pem_public_key
    key = _loaded(load, content, key_path, "public")
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InputError(f"--trust {key_path} is no Ed25519 public key", f"make one: {NEW_KEY}.")
    if not (bundle_dir / SIGNATURE).is_file():
        raise InputError(
            f"bundle {bundle_dir} is not signed: it has no {SIGNATURE}",
            "export it with --sign KEY, or leave out --trust if you know where it comes from.",
        )
    signature = read_bytes(
        bundle_dir / SIGNATURE, "signature", most_bytes=SIGNATURE_BYTES, follow=False
    )
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, manifest)
    except InvalidSignature as error:
        raise InputError(
            f"bundle {bundle_dir} is not what the owner of {key_path} signed",
            "get it again from them, or give the key of whoever made it.",
        ) from error


def trusted_engines(manifest: bytes) -> Path:
    """Where this user's own engines of a signed bundle lie: in their cache, never in the bundle."""
    return cache_dir() / "engines" / sha256_bytes(manifest)


def _loaded(
    load: Callable[..., Any], content: bytes, path: Path, kind: str, **options: Any
) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(content, **options)
    # A key with a passphrase is a TypeError.
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is no {kind} key that could be read: {error}",
            f"give an Ed25519 key in PEM or OpenSSH's format, without a passphrase: {NEW_KEY}.",
        ) from error


def _cryptography(option: str) -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingError(
            f"{option} needs the package cryptography: {error}", "pip install 'edgeresnet[sign]'."
        ) from error
    return serialization, ed25519
