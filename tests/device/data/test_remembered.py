"""Data that a model remembers is the very folder that it was trained on, or is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgeresnet.api.evaluate import evaluate
from edgeresnet.device.data.remembered import check_remembered, known_by, placed
from edgeresnet.device.machine.privacy import name_of
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from edgeresnet.host.models.checkpoint_record import DIGEST
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.progress import TaskContext
from tests.class_folders import opens, reader_of, write_classes
from tests.host.training.test_train_checkpoint import narrow_weights

FOLDERS = {"a": (0, 20), "b": (1, 20)}


def test_evaluate_refuses_another_folder_of_the_remembered_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "val"):
        write_classes(tmp_path / "here" / "photos" / part, FOLDERS)
        write_classes(tmp_path / "there" / "photos" / part, {"a": (1, 21), "b": (0, 20)})
    monkeypatch.chdir(tmp_path / "here")
    trained = reader_of(("a", "b"), outputs=2, data=name_of(str(placed("photos"))))
    trained = replace(trained, data_fingerprint=known_by("photos"))
    opens(monkeypatch, *[trained] * 3)
    assert evaluate("m")["top1"] == 1.0
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(InputError, match="not, or no longer, the data that m was trained on"):
        evaluate("m")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="m was trained on photos, which is not here"):
        evaluate("m")


def test_known_by_is_the_same_for_a_copy_of_the_validation_part(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_classes(tmp_path / "photos" / part, FOLDERS)
    before = known_by(str(tmp_path / "photos"))
    shutil.copytree(tmp_path / "photos" / "val", tmp_path / "device" / "Val")
    (tmp_path / "device" / "Val" / "a").rename(tmp_path / "device" / "Val" / "A")
    (tmp_path / "device" / "Val" / "A" / "._0.png").touch()
    assert known_by(str(tmp_path / "device")) == before
    (tmp_path / "device" / "Val" / "A" / "0.png").unlink()
    assert known_by(str(tmp_path / "device")) != before
    assert known_by("digits") is known_by(None) is None


def test_foreign_checkpoint_remembers_a_path_from_the_root_and_what_it_is_known_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path / "photos", FOLDERS)
    monkeypatch.chdir(tmp_path)
    foreign = narrow_weights(tmp_path / "w.pt", classes=2)
    named, *_ = open_splits_for(foreign, TaskContext(data="photos"))
    save_checkpoint(named, tmp_path / "named.pt")
    read = load_checkpoint(tmp_path / "named.pt")
    assert read.data == str(tmp_path / "photos")
    assert read.data_fingerprint == known_by("photos") is not None


def test_older_checkpoint_remembers_no_fingerprint_and_takes_what_is_there(
    tmp_path: Path,
) -> None:
    narrow_weights(tmp_path / "w.pt", classes=2)
    content = torch.load(tmp_path / "w.pt", weights_only=True)
    del content["data_fingerprint"], content[DIGEST]
    torch.save(content, tmp_path / "w.pt")
    assert load_checkpoint(tmp_path / "w.pt").data_fingerprint is None
    check_remembered("nowhere", None, "m")


def test_only_the_name_of_a_folder_travels() -> None:
    assert name_of("/home/me/photos") == "photos"
    assert name_of("digits") == placed("digits") == "digits"
    assert placed(None) is None
    assert placed("x") == str(Path("x").resolve())
