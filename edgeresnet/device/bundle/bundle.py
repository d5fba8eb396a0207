"""The folder that travels: manifest, model, golden inputs and logits. Only this module reads it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.bundle.features import GoldenFeatures
from edgeresnet.device.bundle.golden_file import read_features, read_golden
from edgeresnet.device.bundle.manifest import (
    FORMAT_VERSION,
    GOLDEN,
    MANIFEST,
    SIGNATURE,
    Manifest,
)
from edgeresnet.device.bundle.own_files import hash_of, names_in
from edgeresnet.device.bundle.signature import check_signature, trusted_engines
from edgeresnet.device.targets.model_files import reader_of, target_of_file
from edgeresnet.device.targets.protocol import ENGINES, EXAMPLE
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import InputError
from edgeresnet.files.folders import restore_folder
from edgeresnet.settings.export import BatchRange, BuildOptions
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.untrusted import parse_json, read_bytes, short

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what the manifest says.

    Attributes:
        engine_dir: where its engines lie; None: in the bundle, which nobody has vouched for.
    """

    path: Path
    manifest: Manifest
    engine_dir: Path | None = None

    @property
    def model_path(self) -> Path:
        """The file that the runtime opens."""
        return self.path / self.manifest.model

    def golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Images (n, H, W, 3) uint8 and the logits (n, classes) float32 they must give.

        Of a bundle without logits these are (n, 0).

        Raises:
            InputError: the file holds something else.
        """
        manifest = self.manifest
        size, classes = manifest.input_spec.image_size, manifest.logits
        return read_golden(self.path / GOLDEN, size, classes, manifest.feature_columns)

    def rounding_bound(self) -> float:
        """How far rounding may move what a run answers with, on any device."""
        images, golden = self.golden()
        features, manifest = self.golden_features(len(images)), self.manifest
        if features is not None and not manifest.logits:
            return float(features.bounds.max())
        spread = float(golden.max() - golden.min()) or 1.0
        return manifest.logit_bound or manifest.golden_tolerance * spread

    def golden_features(self, images: int) -> GoldenFeatures | None:
        """What the images must give beside logits; None of a bundle that gives logits alone.

        Args:
            images: how many golden ones there are.

        Raises:
            InputError: the file holds something else.
        """
        manifest = self.manifest
        if not manifest.outputs:
            return None
        path, columns = self.path / GOLDEN, manifest.feature_columns
        return GoldenFeatures(*read_features(path, images, manifest.logits, columns))


def build_options(
    spec: InputSpec, batch: BatchRange, *, pixels: bool, sparse: bool
) -> BuildOptions:
    """How an engine for such inputs is compiled.

    Args:
        spec: gives the image size.
        batch: sizes that it takes.
        pixels: (H, W, 3) uint8 inputs, normalized inside.
        sparse: the weights are 2:4 sparse.
    """
    return BuildOptions(
        batch=(batch.smallest, batch.best, batch.largest),
        input_shape=input_shape(spec, pixels=pixels),
        sparse=sparse,
    )


def input_shape(spec: InputSpec, *, pixels: bool) -> tuple[int, int, int]:
    """One input's shape: (3, H, W), or (H, W, 3) where pixels are normalized inside."""
    size = spec.image_size
    return (size, size, 3) if pixels else (3, size, size)


def read_manifest(path: Path) -> Manifest:
    """What a bundle says about itself; its other files are not looked at.

    Raises:
        InputError: not there, not a bundle, or of a newer format.
    """
    return _parsed(path, _manifest_bytes(path))


def _manifest_bytes(path: Path) -> bytes:
    restore_folder(path)
    if not path.is_dir():
        raise InputError(f"bundle {path} does not exist", "check the path, or export it first.")
    if not (path / MANIFEST).is_file():
        raise InputError(
            f"{path} has no {MANIFEST}, so it is not a bundle",
            "give the folder that edgeresnet export wrote.",
        )
    return read_bytes(path / MANIFEST, "manifest", follow=False)


def _parsed(path: Path, content: bytes) -> Manifest:
    try:
        _check_version(path, values := parse_json(content))
        return Manifest.from_values(values)
    except ValueError as error:
        raise InputError(
            f"{path / MANIFEST} is damaged: {error}", "copy the bundle again."
        ) from error


def _check_version(path: Path, values: object) -> None:
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError("it has no format_version of 1 or more")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} has bundle format {short(version)}; this edgeresnet reads up to "
            f"{FORMAT_VERSION}",
            "install a newer edgeresnet here, or export with this one.",
        )


def load_bundle(path: Path, *, check_engines: bool = True, trust: str | None = None) -> Bundle:
    """Read a bundle and check every file against its hash.

    Args:
        path: the bundle's folder.
        check_engines: False where they are about to be built anew. One that has been removed
            is never missed, nor is the example.
        trust: path of a public key, whose owner must have signed the bundle; its engines are then
            this user's own, in their cache.

    Raises:
        InputError: not there, not a bundle, of a newer format, incomplete, altered, or not signed
            as it must be.
        MissingError: what checks a signature is not here.
    """
    content = _manifest_bytes(path)
    if trust is not None:
        check_signature(path, content, trust)
    manifest = _parsed(path, content)
    there = names_in(path)
    for name, expected in manifest.files.items():
        file_path = path / name
        is_engine = name.startswith(f"{ENGINES}/")
        if name not in there and (is_engine or name == EXAMPLE):
            continue
        if is_engine and not check_engines:
            continue
        if name not in there:
            raise InputError(f"{file_path} is missing", "copy the whole bundle again.")
        if hash_of(file_path) != expected:
            raise InputError(
                f"{file_path} is not the file that was "
                f"{'built' if is_engine else 'exported'} (its sha256 differs)",
                f"build it again: edgeresnet build {path}."
                if is_engine
                else "copy the bundle again.",
            )
    bundle = Bundle(path, manifest, None if trust is None else trusted_engines(content))
    _check_model(bundle, there)
    return bundle


def _check_model(bundle: Bundle, there: Set[str]) -> None:
    """Refuse a model of another kind than its target's, and one that reads files without a hash."""
    target = TARGETS.get(bundle.manifest.target)
    if target is not None and bundle.model_path.suffix.lower() not in target.spec.model_suffixes:
        raise InputError(
            f"{bundle.model_path} is no model of target {target.spec.name}, which has "
            f"{' or '.join(target.spec.model_suffixes)}",
            "copy the bundle again.",
        )
    others = there - {*bundle.manifest.files, MANIFEST, SIGNATURE}
    if not others or target_of_file(bundle.model_path) is None:
        return
    for name in reader_of(bundle.model_path)[1].beside(bundle.model_path):
        if name not in bundle.manifest.files:
            raise InputError(
                f"{bundle.model_path} reads {short(name)}, whose hash its manifest does not have",
                "copy the bundle again.",
            )
