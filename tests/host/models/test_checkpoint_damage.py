"""A checkpoint that is damaged, or made to do harm, is refused by what is wrong with it."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.errors import EdgeResNetError, InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.checkpoint_record import DIGEST
from edgeresnet.host.models.describe import describe_checkpoint
from edgeresnet.host.models.foreign import content as foreign_content
from edgeresnet.host.models.foreign.archive import check_archive
from edgeresnet.host.models.resnet import ARCHS, Widths, build_resnet
from edgeresnet.host.models.shapes import float_shapes, int8_shapes
from tests.hostile.checkpoints import (
    ARCHIVES,
    FIELDS,
    PICKLES,
    PROGRAMS,
    TENSORS,
    flipped,
    mutated,
    rezipped,
    small_checkpoint,
)

# What is made here is odd on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.pt"
    save_checkpoint(small_checkpoint(), path)
    return path


@pytest.mark.parametrize("number", range(10))
def test_load_checkpoint_refuses_when_one_bit_of_a_weight_is_another(
    good: Path, tmp_path: Path, number: int
) -> None:
    (tmp_path / "x.pt").write_bytes(flipped(good, np.random.default_rng(number))[0])
    with pytest.raises(InputError, match=r"SHA-256|NaN|negative"):
        load_checkpoint(tmp_path / "x.pt")


def test_load_checkpoint_refuses_when_a_setting_is_another(good: Path, tmp_path: Path) -> None:
    content = torch.load(good, weights_only=True)
    content["input_spec"]["mean"][0] += 1e-3
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match="SHA-256"):
        load_checkpoint(tmp_path / "x.pt")


def test_load_checkpoint_opens_when_an_older_version_wrote_no_digest(
    good: Path, tmp_path: Path
) -> None:
    content = torch.load(good, weights_only=True)
    del content[DIGEST]
    torch.save(content, tmp_path / "x.pt")
    assert load_checkpoint(tmp_path / "x.pt").arch == "resnet18"


@pytest.mark.parametrize("name", [*TENSORS, *FIELDS, *PICKLES])
def test_load_checkpoint_refuses_when_its_content_is_malformed(
    good: Path, tmp_path: Path, name: str
) -> None:
    content = torch.load(good, weights_only=True)
    made = {**TENSORS, **FIELDS, **PICKLES}[name](content)
    made = content if made is None else made
    if isinstance(made, dict) and not name.startswith(("digest", "format")):
        made.pop(DIGEST, None)  # refused for what it is
    torch.save(made, tmp_path / "x.pt")
    with pytest.raises(EdgeResNetError):
        load_checkpoint(tmp_path / "x.pt")


def test_load_checkpoint_names_the_tensor_when_it_is_malformed(good: Path, tmp_path: Path) -> None:
    for name in ("float8", "quantized", "NaN", "stride 0", "too few dimensions"):
        content: dict[str, Any] = torch.load(good, weights_only=True)
        TENSORS[name](content)
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(InputError, match=r"layer2\.0\.conv1\.weight"):
            load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ARCHIVES)
def test_load_checkpoint_refuses_when_the_archive_is_not_whole(
    good: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "x.pt").write_bytes(ARCHIVES[name](good))
    try:
        load_checkpoint(tmp_path / "x.pt")
    except InputError:
        return
    # Packed anew, and nothing else.
    assert name in ("pickle deflated", "weights deflated", "bytes before it")


@pytest.mark.parametrize("name", PROGRAMS)
def test_load_checkpoint_refuses_and_runs_nothing_when_the_pickle_is_hostile(
    good: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "x.pt").write_bytes(rezipped(good, "/data.pkl", lambda _: PROGRAMS[name]))
    with pytest.raises(InputError):
        load_checkpoint(tmp_path / "x.pt")


def test_check_archive_refuses_before_reading_when_it_would_unpack_to_gigabytes(
    good: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.pt").write_bytes(ARCHIVES["bomb of 3 GB"](good))
    tracemalloc.start()
    with pytest.raises(InputError, match="unpack"):
        check_archive(tmp_path / "x.pt")
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_load_checkpoint_refuses_when_the_file_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(InputError, match="no regular file"):
        load_checkpoint(tmp_path / "x.pt")


def test_describe_checkpoint_takes_no_memory_when_the_image_is_large(good: Path) -> None:
    assert describe_checkpoint(str(good), image_size=4096)["image_size"] == 4096
    with pytest.raises(InputError, match="image_size 20000"):
        describe_checkpoint(str(good), image_size=20_000)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_float_shapes_are_those_of_the_network(arch: str, stem: str) -> None:
    with torch.device("meta"):
        built = build_resnet(arch, 7, stem).state_dict()
    shapes = float_shapes(arch, stem, Widths.dense(arch), 7)
    assert shapes == {name: tuple(t.shape) for name, t in built.items()}
    assert list(shapes) == list(built)


def test_int8_shapes_are_those_of_the_network(int8_checkpoint: Checkpoint) -> None:
    one = int8_checkpoint
    shapes = int8_shapes(one.arch, one.stem, one.widths, len(one.classes))
    assert shapes == {name: tuple(t.shape) for name, t in one.state_dict.items()}


def test_check_content_counts_what_lies_in_a_dictionary_again_and_again(tmp_path: Path) -> None:
    inner: dict[str, Any] = {"a": 1}
    for _ in range(40):
        inner = {"a": inner, "b": inner}
    with pytest.raises(InputError, match="more values"):
        foreign_content.check_content(inner, tmp_path / "x.pt", 100)


def test_load_checkpoint_refuses_or_opens_the_same_when_bytes_are_mutated(
    good: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No other error than the project's own, whatever is in the file."""
    count = 300 if request.config.getoption("markexpr") == "slow" else 60
    rng = np.random.default_rng(0)
    like = load_checkpoint(good)
    for number in range(count):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(mutated(good.read_bytes(), rng))
        try:
            found = load_checkpoint(path)
        except EdgeResNetError:
            continue
        finally:
            path.unlink()
        assert all(torch.equal(found.state_dict[k], t) for k, t in like.state_dict.items())
    assert zipfile.is_zipfile(good)
