"""What attackers, broken disks and other tools put into shards: refused by name, or left out."""

from __future__ import annotations

import gzip
import pickle
import tarfile
import warnings
from pathlib import Path

import pytest

from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.device.data.shards.scan import scan
from edgeresnet.errors import InputError
from tests.shards import Member, of_type, photos, png, samples, sharded, write_tar


def claiming(name: str, size: int) -> Member:
    """A header that claims so many bytes, with none behind it."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info, b""


def refused(path: Path) -> str:
    """Why the shard is; it is named, and how to mend it."""
    with pytest.raises(InputError) as raised:
        open_dataset(str(path), "val")
    assert str(path) in raised.value.cause
    assert raised.value.fix
    return raised.value.cause


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (("../0009.png", b"x"), "leads out of the shard"),
        (("a/../../0009.png", b"x"), "leads out of the shard"),
        (("/etc/0009.png", b"x"), "leads out of the shard"),
        (("a\\..\\0009.png", b"x"), "leads out of the shard"),
        (("00\x1b[2J09.png", b"x"), "leads out of the shard"),
        (of_type("0009.png", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (of_type("0009.png", tarfile.LNKTYPE, "0000.png"), "is a link"),
        (of_type("0009.png", tarfile.CHRTYPE), "is a device"),
        (of_type("0009.png", tarfile.BLKTYPE), "is a device"),
        (of_type("0009.png", tarfile.FIFOTYPE), "is a pipe"),
        (of_type("0009.png", tarfile.GNUTYPE_SPARSE), "is "),
        (("0003.png", png()), "is there twice"),
        (("0003.jpg", png()), "is a second image of its key"),
        (("0000.txt", b"x"), "comes apart from what else is of the key 0000"),
        (("0009.cls", b"cat"), "is no number of a class: cat"),
        (("0009.cls", b"-1"), "is no number of a class: -1"),
        (("0009.cls", b"1" * 200), "is no number of a class"),
        (("0009.cls", b"99999999"), "100000 classes are the most"),
        (("0009.cls", b""), "is no number of a class"),
        (("0009.png", png()), "has no label"),
        (claiming("0009.png", 10**6), "claims 1000000 bytes"),
        (claiming("0009.png", 1 << 40), "claims 1099511627776 bytes"),
    ],
)
def test_a_hostile_member_is_refused_by_name(tmp_path: Path, member: Member, told: str) -> None:
    path = write_tar(tmp_path / "val-0.tar", [*samples(4), member])
    said = refused(path)
    assert told in said
    assert "\x1b" not in said


@pytest.mark.parametrize("kind", [b"x", b"L", b"g"])
def test_a_long_name_of_any_claimed_length_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 7 << 30
    path = write_tar(tmp_path / "val-0.tar", [*samples(4), (info, b"")])
    assert "a header claims" in refused(path)


def test_headers_that_only_announce_headers_end(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type = b"x"
    path = tmp_path / "val-0.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) * 20_000 + bytes(10240))
    assert "is damaged, or no tar" in refused(path)


@pytest.mark.parametrize("cut", [1, 300, 512, 700, 1500, 6000])
def test_a_shard_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = write_tar(tmp_path / "val-0.tar", samples(4))
    whole = path.read_bytes().rstrip(b"\0")
    path.write_bytes(whole[: len(whole) - cut])
    assert any(words in refused(path) for words in ("cut off", "claims", "damaged"))


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "val-0.tar", samples(4))
    content = bytearray(path.read_bytes())
    content[content.index(b"0002.png") + 2] ^= 1
    path.write_bytes(content)
    assert "bad checksum" in refused(path)


def test_a_shard_that_is_something_else_is_refused(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "all" / "val-0.tar", samples(4)).read_bytes()
    for name, content, told in (
        ("zipped-val-0.tar", gzip.compress(tar), "gzip has compressed"),
        ("empty-val-0.tar", b"", "is empty"),
        ("text-val-0.tar", b"no tar at all" * 100, "is damaged, or no tar"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert told in refused(path)
    (tmp_path / "val-0.tar.gz").write_bytes(gzip.compress(tar))
    assert "is compressed (.tar.gz)" in refused(tmp_path / "val-0.tar.gz")
    empty = write_tar(tmp_path / "none" / "val-0.tar", [])
    assert "have no images" in refused(empty)


def test_a_shard_that_is_a_link_or_no_file_is_refused(tmp_path: Path) -> None:
    real = write_tar(tmp_path / "elsewhere" / "val-0.tar", samples(4))
    (tmp_path / "val-0.tar").symlink_to(real)
    assert "is a link" in refused(tmp_path / "val-0.tar")
    (tmp_path / "dir" / "val-0.tar").mkdir(parents=True)
    with pytest.raises(InputError):
        open_dataset(str(tmp_path / "dir"), "val")


@pytest.mark.parametrize(
    "spec",
    ["pipe:cat val-0.tar", "PIPE:touch ran.tar", "http://host/val-{0..3}.tar", "s3://b/val-0.tar"],
)
def test_commands_and_addresses_are_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nothing is run and nothing is fetched"):
        open_dataset(spec, "val")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["val-{3..1}.tar", "val-{a..b}.tar", "val-{0..1}{0..1}.tar", "val-{0..999999999}.tar"]
)
def test_a_range_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no range of shards"):
        open_dataset(str(tmp_path / name), "val")


def test_a_number_that_is_missing_among_shards_is_named(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        write_tar(tmp_path / f"val-{number}.tar", samples(2))
    with pytest.raises(InputError, match="not number 2"):
        open_dataset(str(tmp_path), "val")


class Bomb:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('ran', 'w')",)


def test_pickles_and_other_members_are_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    members: list[Member] = []
    for image, label in zip(samples(4)[::2], samples(4)[1::2], strict=True):
        key = str(image[0])[:4]
        others = ("pkl", "pyd", "pth", "npy", "json", "txt", "svg", "eps")
        members += [image, label, *((f"{key}.{end}", pickle.dumps(Bomb())) for end in others)]
    path = write_tar(tmp_path / "val-0.tar", [("._0000.png", b"of macOS"), *members])
    dataset = open_dataset(str(path), "val")
    for index in range(len(dataset)):
        dataset.image(index)
    assert len(dataset) == 4
    assert not (tmp_path / "ran").exists()
    assert dataset.notes[0] == (
        "left out 4 members that are not read (.pkl): "
        "val-0.tar/0000.pkl, val-0.tar/0001.pkl, val-0.tar/0002.pkl …"
    )


def test_content_decides_what_an_image_is(tmp_path: Path) -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    path = write_tar(
        tmp_path / "val-0.tar",
        [*samples(2), ("0008.jpg", postscript), ("0008.cls", b"1"), ("0009.png", b""),
         ("0009.cls", b"1")],
    )  # fmt: skip
    dataset = open_dataset(str(path), "val")
    for index in (2, 3):
        with pytest.raises(InputError, match=r"val-0\.tar: 000\d\.\w+ is not a readable image"):
            dataset.image(index)
    assert len(open_dataset(str(path), "val", skip_broken=True)) == 2


def test_names_may_be_long_lie_in_folders_and_begin_with_a_dot(tmp_path: Path) -> None:
    long = "n" * 200
    members = [of_type("./", tarfile.DIRTYPE), of_type("./cat", tarfile.DIRTYPE)]
    members += [
        (f"./cat/{long}{end}", content)
        for end, content in ((".JPG", png(9)), (".cls", b"1\n"))
    ]  # fmt: skip
    members += [("./dog/größe.png", png(3)), ("./dog/größe.cls", b"0")]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tmp_path / f"{form}-val-0.tar"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tarfile.TarFile, "format", form)
            write_tar(path, members)
        shard = scan(path)
        assert [*shard.names] == [
            f"{path.name}/cat/{long}.JPG", f"{path.name}/dog/größe.png",
        ]  # fmt: skip
        assert shard.labels.tolist() == [1, 0]
        assert open_dataset(str(path), "val").image(0).size == (8, 8)


def test_a_shard_that_changes_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "val-0.tar", samples(4))
    dataset = open_dataset(str(path), "val")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="ends before it"):
        dataset.image(3)


def test_webdataset_reads_the_same(tmp_path: Path) -> None:
    shards = sharded(photos(tmp_path / "photos"), tmp_path / "shards")
    paths = sorted(map(str, shards.glob("train-*.tar")))
    with warnings.catch_warnings():
        # Of an extension that torch's data sets lose some day.
        warnings.simplefilter("ignore")
        import webdataset

        theirs = list(webdataset.WebDataset(paths, shardshuffle=False))
    ours = open_dataset(str(shards), "train")
    assert isinstance(ours, ShardDataset)
    assert [one["__key__"] for one in theirs] == [f"{i:09d}" for i in range(len(ours))]
    assert [int(one["cls"]) for one in theirs] == ours.labels.tolist()
    assert [one["png"] for one in theirs] == [ours.content(i) for i in range(len(ours))]
