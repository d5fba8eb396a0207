from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.api.adopt import adopt
from edgeresnet.api.opening import load_checkpoint
from edgeresnet.cli.adopt import _enforce
from edgeresnet.errors import CheckError, InputError
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.network import NetworkTold
from tests.conftest import CommandLine
from tests.host.adoption.hidden import adopt_and_judge
from tests.somebody_elses import (
    CLASSES,
    Hidden,
    Trained,
    network_of,
    pictures,
    save_file,
    save_folder,
    train,
)

WIDTH, IMAGES = 16, 300


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    """So small a network is faster so, and its tests are equal on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(one_thread: None) -> Trained:
    return train(Hidden(), images=1500, epochs=4, width=WIDTH)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("data") / "photos", IMAGES, seed=7)


HIDDEN = {
    "colours": Hidden(channels="bgr", classes="sorted by number"),
    "raw": Hidden(weights="raw", channels="bgr"),
    "average": Hidden(classes="any", channels="bgr", weights="EMA"),
    "size": Hidden(classes="any"),
    "stem": Hidden(classes="sorted by number", weights="raw"),
}


# What the one by default hides is all that the others do, but for the stem and the size, which are
# in test_search.py, and one scale of the pixels.
@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=[] if what == "average" else [pytest.mark.slow]) for what in HIDDEN],
)
def test_adopt_finds_what_the_file_hides(
    what: str, trained: Trained, photos: Path, tmp_path: Path
) -> None:
    hidden = HIDDEN[what]
    verdict, results = adopt_and_judge(
        trained,
        hidden,
        photos,
        pictures("val", IMAGES, 7),
        tmp_path,
        width=WIDTH,
        rng=np.random.default_rng(1),
        # What is far apart is tried in all combinations: on one thread one such field is enough.
        image_size=None if what == "size" else 32,
        network=NetworkTold(stem=None if what == "stem" else "imagenet"),
    )
    assert verdict.word in ("exact", "excused"), (verdict, results["rows"])
    ours = load_checkpoint(tmp_path / "ours.pt")
    assert ours.classes == tuple(results["classes"])
    assert ours.input_spec.to_dict() == results["input_spec"]
    assert ours.provenance["adopted"]["settings"] == results["settings"]
    assert ours.data == str(photos)
    said = ours.provenance["assumed"]
    assert ("BGR" if hidden.channels == "bgr" else "RGB") in said
    assert said.endswith(f"as {IMAGES} labelled images say")


def test_adopt_leaves_nothing_when_no_setting_is_above_chance(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    untrained = network_of(Hidden(), WIDTH).state_dict()
    save_file(Trained(untrained, untrained), Hidden(), list(range(10)), tmp_path / "theirs.pth")
    with pytest.raises(CheckError, match="above chance: top-1 0"):
        adopt(
            tmp_path / "theirs.pth",
            tmp_path / "ours.pt",
            image_size=32,
            context=TaskContext(data=str(photos), limit=60),
        )
    assert not (tmp_path / "ours.pt").exists()


def test_adopt_takes_what_is_told_and_compares_it_to_nothing(
    photos: Path, trained: Trained, tmp_path: Path
) -> None:
    save_file(trained, Hidden(), sorted(range(10)), tmp_path / "theirs.pth")
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    told = InputChanges(mean="0.5", std="0.5", resize="squash", channels="rgb")
    results = adopt(
        tmp_path / "theirs.pth",
        tmp_path / "ours.pt",
        image_size=32,
        inputs=told,
        network=NetworkTold(stem="imagenet"),
        context=TaskContext(data=str(photos), limit=200, classes_path=tmp_path / "names.txt"),
    )
    assert {row["setting"] for row in results["rows"] if row["decision"] != "taken"} == {
        "interpolation"
    }
    assert results["settings"]["stem"] == "imagenet"
    assert results["input_spec"]["mean"] == [0.5, 0.5, 0.5]
    assert results["n"] == 200
    # What is written says it all: it is no foreign file any more.
    with pytest.raises(InputError, match="says all of itself"):
        adopt(tmp_path / "ours.pt", tmp_path / "again.pt", context=TaskContext(data=str(photos)))


def test_adopt_refuses_data_of_another_number_of_classes(trained: Trained, tmp_path: Path) -> None:
    save_file(trained, Hidden(), list(range(10)), tmp_path / "theirs.pth")
    with pytest.raises(InputError, match="has 10 outputs"):
        adopt(tmp_path / "theirs.pth", tmp_path / "o.pt", context=TaskContext(data=_two(tmp_path)))


def _two(folder: Path) -> str:
    from PIL import Image

    for name in ("a", "b"):
        place = folder / "two" / "val" / name
        place.mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (8, 8)).save(place / f"{index}.png")
    return str(folder / "two")


def test_command_shows_what_it_tried_in_80_columns(
    edgeresnet: CommandLine, photos: Path, trained: Trained, tmp_path: Path
) -> None:
    save_file(trained, Hidden(channels="bgr"), list(range(10)), tmp_path / "theirs.pth")
    told = ("--data", photos, "--image-size", 32, "--stem", "imagenet", "--limit", 200)
    done = edgeresnet(
        "adopt", "theirs.pth", *told, "--strict", "-o", "ours.pt", "--json", "found.json"
    )
    assert done.returncode == 1, done.stderr
    assert "the images leave undecided" in done.stderr
    assert (tmp_path / "ours.pt").exists()
    assert max(map(len, done.stdout.splitlines())) <= 80
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["settings"]["channels"] == "bgr"
    assert f"top-1 {found['top1']:.4f}" in done.stdout
    assert "What fits 200 labelled images" in done.stdout
    # Bicubic and Lanczos give nearly the same pixels.
    assert "not distinguished: interpolation" in done.stdout
    # Else a doubt is only told.
    _enforce(found, strict=False)
