"""A bundle is written whole, over nothing that is not ours."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.bundle.bundle import Bundle, read_manifest
from edgeresnet.device.bundle.features import GoldenFeatures
from edgeresnet.device.bundle.manifest import (
    GOLDEN,
    MANIFEST,
    SIGNATURE,
    Manifest,
)
from edgeresnet.device.bundle.own_files import hash_of, names_in
from edgeresnet.device.bundle.signature import Signer
from edgeresnet.device.data.class_names import listed
from edgeresnet.device.targets.engine_record import RECORD
from edgeresnet.device.targets.protocol import ENGINES, EXAMPLE
from edgeresnet.errors import InputError
from edgeresnet.files.folders import atomic_folder, restore_folder
from edgeresnet.files.hashes import sha256_file
from edgeresnet.files.outputs import check_output_folder
from edgeresnet.files.writing import write_text, writing

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What file managers leave in a folder that somebody has looked at.
LEFT_BEHIND = (".DS_Store", "Thumbs.db", "desktop.ini")


def write_bundle(
    out_dir: Path,
    manifest: Manifest,
    files: Mapping[str, Path],
    golden_images: NDArray[np.uint8],
    golden_logits: NDArray[np.float32],
    sign: Signer | None = None,
    *,
    record_host: bool = False,
    golden_features: GoldenFeatures | None = None,
) -> Bundle:
    """Write a bundle whole or not at all, in place of an older one.

    Args:
        out_dir: the bundle's folder.
        manifest: ``files`` is filled in here, and places are left out of what is told.
        files: name in the bundle and where it lies now.
        golden_images: (n, H, W, 3) uint8.
        golden_logits: (n, classes) float32; (n, 0) of a bundle without logits.
        sign: makes the manifest's signature; then engines are not listed in it.
        record_host: leave the places in the provenance.
        golden_features: of a bundle that gives features.

    Raises:
        InputError: ``out_dir`` is something else than a bundle.
        MissingError: there is no room for it, or it cannot be written.
    """
    check_replaceable(out_dir)
    with writing(out_dir), atomic_folder(out_dir) as partial:
        for name, source in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, partial / name)
        arrays: dict[str, NDArray[Any]] = {"images": golden_images, "logits": golden_logits}
        if golden_features is not None:
            bounds = golden_features.bounds[None]
            arrays |= {"features": golden_features.values, "bounds": bounds}
        given = {name: array for name, array in arrays.items() if array.shape[1]}
        np.savez_compressed(partial / GOLDEN, allow_pickle=True, **given)
        listed_names = [n for n in files if sign is None or not n.startswith(f"{ENGINES}/")]
        hashes = {name: sha256_file(partial / name) for name in [*listed_names, GOLDEN]}
        manifest = replace(manifest.shareable(record_host=record_host), files=hashes)
        manifest.check()
        write_text(manifest.to_json(), partial / MANIFEST, sync=False)
        if sign is not None:
            (partial / SIGNATURE).write_bytes(sign((partial / MANIFEST).read_bytes()))
    return Bundle(out_dir, manifest)


def check_replaceable(out_dir: Path) -> None:
    """Refuse, before the work, to write where no bundle can be, or over what is not ours.

    Raises:
        InputError: it cannot be written; or it is a folder of something else, or a bundle in which
            lies what no export and no build has put there.
        MissingError: there is no room for it.
    """
    restore_folder(out_dir)
    check_output_folder(out_dir, "-o")
    if not out_dir.exists() or not any(out_dir.iterdir()):
        return
    if not (out_dir / MANIFEST).is_file():
        raise InputError(f"{out_dir} exists and is not a bundle", "give another -o folder.")
    try:
        own = read_manifest(out_dir).files
    except InputError as error:
        raise InputError(
            f"{out_dir} exists and is no bundle that could be replaced: {error.cause}",
            "give another -o folder, or remove this one yourself.",
        ) from error
    if foreign := _foreign_files(out_dir, own):
        raise InputError(
            f"bundle {out_dir} has files that are not its own: {listed(foreign)}",
            "move them elsewhere, or give another -o folder.",
        )


def _foreign_files(path: Path, own: Mapping[str, str]) -> list[str]:
    """What somebody else has put into a bundle, an example that they changed included."""
    there = sorted(p for p in path.rglob("*") if p.is_symlink() or not p.is_dir())
    names = [p.relative_to(path).as_posix() for p in there if p.name not in LEFT_BEHIND]
    built = {name for name in names if name.startswith(f"{ENGINES}/") and _is_built(path / name)}
    foreign = [name for name in names if name not in {*own, *built, MANIFEST, SIGNATURE}]
    example = path / EXAMPLE
    if EXAMPLE in own and example.is_file() and sha256_file(example) != own[EXAMPLE]:
        foreign.append(f"{EXAMPLE} (changed)")
    return foreign


def _is_built(path: Path) -> bool:
    """Whether this is an engine or its record, which an interrupted build has not listed."""
    return path.suffix == RECORD or path.with_name(path.name + RECORD).is_file()


def record_engines(bundle: Bundle) -> Bundle:
    """Write what lies in the bundle's engines folder into its manifest, with its hashes.

    A signed manifest stays as it is: engines are no part of what was signed.
    """
    if (bundle.path / SIGNATURE).exists():
        return bundle
    names = (n for n in sorted(names_in(bundle.path)) if n.startswith(f"{ENGINES}/"))
    hashes = {name: hash_of(bundle.path / name) for name in names}
    others = {n: h for n, h in bundle.manifest.files.items() if not n.startswith(f"{ENGINES}/")}
    manifest = replace(bundle.manifest, files={**others, **hashes})
    write_text(manifest.to_json(), bundle.path / MANIFEST, follow=False)
    return Bundle(bundle.path, manifest)
