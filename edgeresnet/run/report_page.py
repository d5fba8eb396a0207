"""The page of a run: what its folder has, as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from PIL import ImageOps

from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.outputs import check_output_file
from edgeresnet.files.writing import write_text, writing
from edgeresnet.progress import OnStep
from edgeresnet.results.measured import ChangedImage, CompareResults
from edgeresnet.run.folder import RECORDS, networks_in
from edgeresnet.run.stage_record import Record, whole_record
from edgeresnet.untrusted import read_record, short

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset

# Sides of the images that are shown, at most.
PICTURE_PX = 128
RESULTS, PAGE = "results.json", "report.html"
FIX = "give a run's folder, or a file that compare --json or run --json wrote."


def read_results(source: Path) -> CompareResults:
    """Of a run's folder, or of a file of results.

    Raises:
        InputError: there are none, or they are something else.
    """
    path = source / RESULTS if source.is_dir() else source
    if not path.exists():
        what = f"{source} has no {RESULTS}" if source.is_dir() else f"{source} does not exist"
        raise InputError(what, FIX)
    return read_record(path, CompareResults, "file of results", FIX)


def write_page(
    source: Path,
    output: Path | None = None,
    *,
    data: str | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
) -> Path:
    """Write the page of a run, or of a comparison's results.

    Args:
        source: a run's folder, or a file of results.
        output: None: ``report.html`` in the run, or beside the file.
        data: the images that were measured on, to show those whose answer changed; None: none is
            shown.
        limit: as it was measured.
        skip_broken: likewise.

    Returns:
        Where it is.

    Raises:
        InputError: there are no results, they are of other images, or the page cannot be written.
        MissingError: what draws it is not installed.
    """
    results = read_results(source)
    beside = source / PAGE if source.is_dir() else source.with_suffix(".html")
    path = output or beside
    check_output_file(path, "-o", PAGE)
    if lacking := packages_lacking():
        raise MissingError(
            f"the page is made with {' and '.join(lacking)}, which are not installed",
            "pip install 'edgeresnet[host]'; or give --markdown, which needs nothing.",
        )
    from edgeresnet.report.page.page import page

    pictures: dict[int, bytes] = {}
    if data is not None and (changed := results.get("changed_images")):
        images = open_dataset(data, "val", limit=limit, skip_broken=skip_broken, unlabelled=True)
        pictures = _pictures(images, changed)
    text = page(results, _stages(source), pictures)
    with writing(path):
        write_text(text, path)
    return path


def write_page_of_run(
    run_dir: Path, *, data: str, limit: int | None, skip_broken: bool, on_step: OnStep
) -> None:
    """Write a run's page at its end, and say where it is, or why there is none.

    Args:
        run_dir: has the results.
        data: the images that were measured on.
        limit: as they were.
        skip_broken: likewise.
        on_step: told.
    """
    if lacking := packages_lacking():
        on_step(f"no page of the run: {' and '.join(lacking)} are not installed")
        return
    page = write_page(run_dir, data=data, limit=limit, skip_broken=skip_broken)
    on_step(f"report: {page}")


def packages_lacking() -> list[str]:
    """Packages that the page is made with and that are not installed."""
    return [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]


def _pictures(dataset: Dataset, changed: Sequence[ChangedImage]) -> dict[int, bytes]:
    """PNG files of these images, small, by their index."""
    made: dict[int, bytes] = {}
    for one in changed:
        index = one["index"]
        if not 0 <= index < len(dataset) or not _is_called(dataset.file_name(index), one["image"]):
            raise InputError(
                f"image {index} of data {dataset.name} is not {short(one['image'])}, which the "
                "results are of",
                "give the --data and --limit that were measured on.",
            )
        picture = ImageOps.exif_transpose(dataset.image(index)).convert("RGB")
        picture.thumbnail((PICTURE_PX, PICTURE_PX))
        content = BytesIO()
        picture.save(content, "PNG")
        made[index] = content.getvalue()
    return made


def _is_called(name: str, told: str) -> bool:
    """Results tell of a file that lies elsewhere its name alone."""
    return name == told or PurePath(name).name == told


def _stages(source: Path) -> Sequence[Mapping[str, Any]]:
    """The records of the stages that stand, in their order; none of a file."""
    if not source.is_dir():
        return []
    own = _records(source)
    for arch, path in networks_in(source).items():
        own += [{**record, "stage": f"{arch}: {record['stage']}"} for record in _records(path)]
    return own


def _records(run_dir: Path) -> list[Mapping[str, Any]]:
    paths = sorted((run_dir / RECORDS).glob("*.json"))
    records = [whole_record(path, Record) for path in paths if ".failed" not in path.name]
    return [record for record in records if record is not None]
