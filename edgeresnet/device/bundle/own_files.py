"""The files of a bundle's folder: no links, no pipes, none without end, each by its hash."""

from __future__ import annotations

import os
from pathlib import Path

from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_open
from edgeresnet.files.places import shortened
from edgeresnet.untrusted import opened, short

# The largest ResNet in fp32 has 0.3 GB.
MOST_BYTES = 4 << 30


def names_in(bundle_dir: Path) -> set[str]:
    """Names of all files below a bundle's folder, with / between folders.

    Raises:
        InputError: one of them is a link: it would be another file on another day, and what it
            leads to is nobody's to read or write.
        OSError: a folder cannot be read.
    """
    names, folders = set(), [""]
    while folders:
        folder = folders.pop()
        with os.scandir(bundle_dir / folder) as entries:
            for entry in entries:
                name = f"{folder}{entry.name}"
                if entry.is_symlink():
                    raise InputError(
                        f"bundle {shortened(bundle_dir)} has a link, {short(name)}, and the files "
                        "of a bundle lie in it themselves",
                        f"copy it with what its links lead to, if you trust them: cp -rL "
                        f"{shortened(bundle_dir)} COPY.",
                    )
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                else:
                    names.add(name)
    return names


def hash_of(path: Path) -> str:
    """SHA-256 of a file of a bundle, 64 hex digits.

    Raises:
        InputError: it is no regular file, or larger than any is.
    """
    with opened(path, "file", follow=False) as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise InputError(
                f"file {shortened(path)} is larger than {MOST_BYTES >> 30} GiB, and no model of "
                "images is",
                "copy the bundle again.",
            )
        return sha256_open(file)
