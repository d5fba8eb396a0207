"""What travels to a device with a model: all that it needs to be opened there."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from PIL import Image

from edgeresnet.api.opening import open_model
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.targets.onnx.external_data import files_beside
from edgeresnet.device.targets.tensorrt.engine import EngineRecord, Host, read_record, write_engine
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.remote.images import data_parcel, told_outside
from edgeresnet.remote.transfer import Parcel, model_parcel
from tests.class_folders import write_classes
from tests.shards import photos, samples, sharded, write_tar
from tests.small_models import keep_weights_apart, write_onnx, write_openvino


def unpacked(path: Path, folder: Path) -> Path:
    """The model as it lies on the device."""
    parcel, name, _ = model_parcel(path)
    for place, source in parcel.files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / place)
    return folder / name


def test_engine_travels_with_its_record(tmp_path: Path) -> None:
    record = EngineRecord(
        "gpu", Host("tensorrt", "10.3.0", "aarch64", "Orin", "8.7", "12.6"), sha256_bytes(b"onnx"),
        sha256_bytes(b"plan"), (), (1, 1, 1), False, False, None, (),
    )  # fmt: skip
    (tmp_path / "here").mkdir()
    there = unpacked(write_engine(tmp_path / "here", b"plan", record), tmp_path / "there")
    assert read_record(there) == record
    with pytest.raises(MissingError), open_model(there):
        pass


@pytest.mark.parametrize(
    ("kept", "name", "expected"),
    [
        (None, "b/engines/e.plan", False),
        ("/b/engines", "b/engines/e.plan", True),
        ("/b/engines", "b/engines.old", False),
        ("/b/engines", "c/b/engines/e.plan", False),
        ("/[[]1]/engines", "[1]/engines/e.plan", True),
        ("/[[]1]/engines", "1/engines/e.plan", False),
        ("__pycache__", "__pycache__/a.pyc", True),
        ("__pycache__", "p/q/__pycache__/a.pyc", True),
        ("__pycache__", "p/__pycache__", False),
    ],
)
def test_parcel_keeps_what_the_device_has_made(kept: str | None, name: str, expected: bool) -> None:
    assert Parcel("place", {}, kept=kept).keeps(name) == expected


@pytest.mark.parametrize("location", ["m.onnx.data", "weights.bin", "weights"])
def test_onnx_travels_with_its_weights_whatever_their_file_is_called(
    tmp_path: Path, location: str
) -> None:
    (tmp_path / "here").mkdir()
    model = keep_weights_apart(write_onnx(tmp_path / "here" / "m.onnx"), location)
    assert files_beside(model) == [location]
    with open_model(unpacked(model, tmp_path / "there")) as opened:
        assert opened.session.classes == 10


def test_openvinos_model_travels_with_its_weights(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    model = write_openvino(write_onnx(tmp_path / "here" / "m.onnx"))
    with open_model(unpacked(model, tmp_path / "there")) as opened:
        assert opened.session.classes == 10


def test_images_travel_with_all_classes_when_a_limit_leaves_some_without(tmp_path: Path) -> None:
    photos = write_classes(tmp_path / "photos", {"a": (0, 40), "b": (1, 40), "c": (2, 40)})
    here = open_dataset(str(photos), "val", limit=2)
    parcel, name = data_parcel(str(photos), 2)
    assert len(parcel.files) == 2
    there = open_dataset(str(data_unpacked(parcel, tmp_path / "there") / str(name)), "val", limit=2)
    assert there.classes == here.classes == ("a", "b", "c")
    assert sorted(there.labels) == sorted(here.labels)


@pytest.mark.parametrize(
    "label", ["../../../../evil", "a/b", "..", ".hidden", "__MACOSX", "b.png", "é" * 200]
)
def test_data_is_refused_when_a_class_can_be_no_folder_there(tmp_path: Path, label: str) -> None:
    labels = listed(tmp_path / "here", {"a.png": "a", "b.png": label})
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        data_parcel(str(labels), None)
    assert data_parcel(str(listed(tmp_path / "more", {"a.png": "a", "b.png": "b ä"})), None)


def test_images_of_a_list_all_arrive_whatever_they_are_called(tmp_path: Path) -> None:
    names = ("1.png", "../other/x.png", ".a.png", "none", "__MACOSX/c.png", "sub/d.png", "e.data")
    labels = listed(tmp_path / "here", {n: "ab"[i // 4] for i, n in enumerate(names)})
    parcel, name = data_parcel(str(labels), None)
    there = open_dataset(str(data_unpacked(parcel, tmp_path / "there") / str(name)), "val")
    assert sorted(there.labels) == [0, 0, 0, 0, 1, 1, 1]
    assert sorted(there.image(i).tobytes() for i in range(7)) == sorted(
        open_dataset(str(labels), "val").image(i).tobytes() for i in range(7)
    )


def listed(folder: Path, labels: dict[str, str]) -> Path:
    """A file of labels of these images."""
    for number, name in enumerate(labels):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name, "png")
    rows = [f"{name},{label},val\n" for name, label in labels.items()]
    (folder / "labels.csv").write_text("path,label,split\n" + "".join(rows))
    return folder / "labels.csv"


def data_unpacked(parcel: Parcel, folder: Path) -> Path:
    """Where the images lie on the device."""
    for sub in parcel.folders:
        (folder / sub).mkdir(parents=True)
    for place, source in parcel.files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / place)
    return folder


def test_external_files_stay_in_the_models_folder(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    plain = path.read_bytes()

    def keeps(*names: str) -> Path:
        model = onnx.load_from_string(plain)
        for name in names:
            tensor = model.graph.initializer.add(name=name)
            tensor.external_data.add(key="location", value=name)
        path.write_bytes(model.SerializeToString())
        return path

    (tmp_path / "sub").mkdir()
    for name in ("sub/w.bin", "w"):
        (tmp_path / name).write_bytes(bytes(4))
    assert files_beside(keeps("sub/w.bin", "w", "w")) == ["sub/w.bin", "w"]
    for name in ("../x", "/etc/x"):
        with pytest.raises(InputError, match="no name of a file in its folder"):
            files_beside(keeps(name))


@pytest.mark.parametrize(
    "named",
    [
        "",
        "val-{000000..000001}.tar",
        "val-{000001..000001}.tar",
        "val-000001.tar",
        "train-{000000..000002}.tar",
    ],
)  # fmt: skip
def test_shards_for_validation_travel_whole_and_without_those_for_training(
    tmp_path: Path, named: str
) -> None:
    shards = sharded(photos(tmp_path / "photos"), tmp_path / "shards")
    here = open_dataset(str(shards / named), "val", limit=2)
    parcel, name = data_parcel(str(shards / named), 2)
    assert not any("train" in file for file in parcel.files)
    spec = str(data_unpacked(parcel, tmp_path / "there") / str(name))
    there = open_dataset(spec, "val", limit=2)
    assert [there.file_name(i) for i in range(2)] == [here.file_name(i) for i in range(2)]
    assert told_outside(parcel, str(shards / named)) is None


def test_shards_of_other_makers_travel_too(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_tar(tmp_path / "shards" / f"{part}-0.tar", samples(6))
    parcel, name = data_parcel(str(tmp_path / "shards"), None)
    assert [*parcel.files] == ["shards/val-0.tar"]
    there = data_unpacked(parcel, tmp_path / "there") / str(name)
    assert len(open_dataset(str(there), "val")) == 6
