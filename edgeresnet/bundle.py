"""The folder that travels: manifest, model, golden inputs and logits. Only this module reads it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.dataset import InputSpec, normalize
from edgeresnet.errors import CheckError, InputError
from edgeresnet.targets.protocol import BuildOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.targets.protocol import Session

FORMAT_VERSION = 1
MANIFEST, GOLDEN = "manifest.json", "golden.npz"
ENGINES = "engines"


@dataclass(frozen=True)
class BatchRange:
    """Which batch sizes a model takes, and which it is best at."""

    smallest: int
    best: int
    largest: int

    @classmethod
    def parse(cls, text: str | int) -> BatchRange:
        """``"1"`` for one size, ``"1:8:32"`` for smallest, best and largest."""
        try:
            numbers = [int(part) for part in str(text).split(":")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            numbers *= 3
        if len(numbers) != 3 or not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
            raise InputError(
                f"batch {text} is not a size or a range",
                "give --batch 1, or smallest:best:largest such as --batch 1:8:32.",
            )
        return cls(*numbers)

    @property
    def dynamic(self) -> bool:
        """Whether the batch dimension stays open."""
        return self.smallest != self.largest


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself; `manifest.json` in the same order.

    Attributes:
        golden_tolerance: largest logit difference, as a share of the golden logits' range.
        layers: {name, op, out_channels, macs, parameters, precision} each.
        proof: what the export saw: fused kernels, difference from PyTorch.
        files: sha256 of every other file.
    """

    target: str
    precision: str
    arch: str
    stem: str
    classes: tuple[str, ...]
    input_spec: InputSpec
    embed_preprocess: bool
    batch: BatchRange
    model: str
    parameters: int
    macs: int
    golden_tolerance: float
    data: str | None
    proof: dict[str, Any]
    provenance: dict[str, Any]
    widths: dict[str, Any]
    layers: tuple[dict[str, Any], ...]
    files: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Indented for a reader."""
        values = {"format_version": self.format_version, **vars(self)}
        values["input_spec"] = self.input_spec.to_dict()
        values["batch"] = vars(self.batch)
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    def description(self) -> dict[str, Any]:
        """The JSON contract of ``inspect``."""
        keys = ("arch", "stem", "parameters", "macs", "target", "precision", "data", "proof")
        return {
            **{key: getattr(self, key) for key in keys},
            "classes": list(self.classes),
            "image_size": self.input_spec.image_size,
            "widths": self.widths,
            "pruning": self.provenance.get("pruning"),
            "layers": list(self.layers),
        }

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of `to_json`; KeyError, TypeError or ValueError if it is not one."""
        values = json.loads(text)
        values["classes"] = tuple(values["classes"])
        values["layers"] = tuple(values["layers"])
        values["input_spec"] = InputSpec.from_dict(values["input_spec"])
        values["batch"] = BatchRange(**values["batch"])
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what the manifest says."""

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The file that the runtime opens."""
        return self.path / self.manifest.model

    def golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Images (n, H, W, 3) uint8 and the logits (n, classes) float32 they must give."""
        with np.load(self.path / GOLDEN) as stored:
            return stored["images"], stored["logits"]


def write_bundle(
    out_dir: Path,
    manifest: Manifest,
    files: Mapping[str, Path],
    golden_images: NDArray[np.uint8],
    golden_logits: NDArray[np.float32],
) -> Bundle:
    """Write a bundle whole or not at all, in place of an older one.

    Args:
        out_dir: the bundle's folder.
        manifest: ``files`` is filled in here.
        files: name in the bundle and where it lies now.
        golden_images: (n, H, W, 3) uint8.
        golden_logits: (n, classes) float32.

    Raises:
        InputError: ``out_dir`` is something else than a bundle.
    """
    check_replaceable(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name, source in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, partial / name)
        np.savez_compressed(partial / GOLDEN, images=golden_images, logits=golden_logits)
        hashes = {name: _sha256(partial / name) for name in [*files, GOLDEN]}
        manifest = replace(manifest, files=hashes)
        (partial / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        replace_folder(partial, out_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Bundle(out_dir, manifest)


def check_replaceable(out_dir: Path) -> None:
    """Refuse to overwrite what is not a bundle."""
    if out_dir.exists() and not (out_dir / MANIFEST).is_file():
        if out_dir.is_dir() and not any(out_dir.iterdir()):
            return
        raise InputError(f"{out_dir} exists and is not a bundle", "give another -o folder.")


def replace_folder(new: Path, place: Path) -> None:
    """Move ``new`` to ``place``; what was there goes only when the new one stands."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


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
    size = spec.image_size
    shape = (size, size, 3) if pixels else (3, size, size)
    return BuildOptions((batch.smallest, batch.best, batch.largest), shape, sparse=sparse)


def record_engines(bundle: Bundle) -> Bundle:
    """Write what lies in the bundle's engines folder into its manifest, with its hashes."""
    engines = sorted(path for path in (bundle.path / ENGINES).iterdir() if path.is_file())
    hashes = {f"{ENGINES}/{path.name}": _sha256(path) for path in engines}
    others = {n: h for n, h in bundle.manifest.files.items() if not n.startswith(f"{ENGINES}/")}
    manifest = replace(bundle.manifest, files={**others, **hashes})
    partial = bundle.path / f".{MANIFEST}.partial"
    partial.write_text(manifest.to_json(), encoding="utf-8")
    partial.replace(bundle.path / MANIFEST)
    return Bundle(bundle.path, manifest)


def load_bundle(path: Path, *, check_engines: bool = True) -> Bundle:
    """Read a bundle and check every file against its hash.

    Args:
        path: the bundle's folder.
        check_engines: False where they are about to be built anew. One that has been removed
            is never missed.

    Raises:
        InputError: not there, not a bundle, of a newer format, incomplete or altered.
    """
    if not path.is_dir():
        raise InputError(f"bundle {path} does not exist", "check the path, or export it first.")
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise InputError(
            f"{path} has no {MANIFEST}, so it is not a bundle",
            "give the folder that edgeresnet export wrote.",
        )
    try:
        text = manifest_path.read_text(encoding="utf-8")
        version = int(json.loads(text)["format_version"])
        if version > FORMAT_VERSION:
            raise InputError(
                f"{path} has bundle format {version}; this edgeresnet reads up to {FORMAT_VERSION}",
                "install a newer edgeresnet here, or export with this one.",
            )
        manifest = Manifest.from_json(text)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{manifest_path} is damaged: {error!r}", "copy the bundle again."
        ) from error
    for name, expected in manifest.files.items():
        file_path = path / name
        is_engine = name.startswith(f"{ENGINES}/")
        if is_engine and not (check_engines and file_path.is_file()):
            continue
        if not file_path.is_file():
            raise InputError(f"{file_path} is missing", "copy the whole bundle again.")
        if _sha256(file_path) != expected:
            raise InputError(
                f"{file_path} is not the file that was "
                f"{'built' if is_engine else 'exported'} (its sha256 differs)",
                f"build it again: edgeresnet build {path}."
                if is_engine
                else "copy the bundle again.",
            )
    return Bundle(path, manifest)


def relative_difference(logits: NDArray[np.float32], golden: NDArray[np.float32]) -> float:
    """Largest absolute difference as a share of the range of ``golden``; inf for NaN."""
    spread = float(golden.max() - golden.min()) or 1.0
    worst = float(np.abs(logits.astype(np.float64) - golden).max()) / spread
    return worst if np.isfinite(worst) else float("inf")


def run_padded(session: Session, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Run any number of inputs through a session, whatever batch it takes.

    Args:
        session: takes ``session.batch_sizes``.
        batch: (n, …); pieces too small for the session repeat their last input.

    Returns:
        (n, classes) float32.
    """
    smallest, largest = session.batch_sizes
    parts = []
    for start in range(0, len(batch), largest):
        part = batch[start : start + largest]
        missing = max(0, smallest - len(part))
        padded = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
        parts.append(session.run(padded)[: len(part)])
    return np.concatenate(parts)


def check_golden(bundle: Bundle, session: Session, device: str, fingerprint: str) -> float | None:
    """Once for each bundle, device and machine: do the golden images give the golden logits?

    Args:
        bundle: gives images, logits and tolerance.
        session: the bundle, opened on the device.
        device: its name.
        fingerprint: of this machine and its runtimes.

    Returns:
        The difference as a share of the logits' range; None if it was checked before.

    Raises:
        CheckError: the difference is larger than the manifest allows.
    """
    marker = _marker_path(bundle, device, fingerprint)
    if marker.is_file():
        return None
    images, golden = bundle.golden()
    inputs = (
        images
        if bundle.manifest.embed_preprocess
        else normalize(images, bundle.manifest.input_spec)
    )
    difference = relative_difference(run_padded(session, inputs), golden)
    if difference > bundle.manifest.golden_tolerance:
        raise CheckError(
            f"{bundle.path} on {device} gives logits {difference:.3f} of their range away from "
            f"the golden ones; {bundle.manifest.golden_tolerance} is allowed",
            "update the runtime or its driver on this device; if that does not help, the bundle "
            "must not be used here.",
        )
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{difference}\n", encoding="utf-8")
    except OSError:
        # A read-only home costs a second check next time, nothing else.
        return difference
    return difference


def _marker_path(bundle: Bundle, device: str, fingerprint: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = "\n".join([*sorted(bundle.manifest.files.values()), device, fingerprint])
    return cache / "edgeresnet" / "golden" / hashlib.sha256(key.encode()).hexdigest()[:32]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
