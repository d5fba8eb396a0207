"""One process against two: the same settings give the same result, to tolerance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from edgeresnet.host.parallel.processes import OneProcess, own_of_step, own_places
from tests.host.parallel.workers import Workers
from tests.host.training.test_train_checkpoint import narrow_weights

# Without normalization over few values, which makes much of what rounding does.
STEADY = {"batch_size": 32, "lr": 0.02, "augment": "none"}


class Of(OneProcess):
    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count  # type: ignore[misc]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network, which the workers have as theirs."""
    folder = tmp_path_factory.mktemp("parallel")
    narrow_weights(folder / "narrow.pt")
    return folder


@pytest.fixture(scope="module")
def workers(place: Path) -> Iterator[Workers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        with Workers(place) as found:
            yield found


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize(("images", "parts"), [(64, 1), (64, 4), (37, 4), (9, 4)])
def test_every_image_of_a_step_is_computed_once(count: int, images: int, parts: int) -> None:
    ranks = [own_of_step(images, parts, of=Of(rank, count)) for rank in range(count)]
    assert {len(own) for own in ranks} == {len(ranks[0])}
    assert sorted(i for own in ranks for part in own for i in part) == list(range(images))
    assert min(len(part) for own in ranks for part in own) >= 1
    # What is computed together is the same, however many compute it.
    whole = own_of_step(images, parts, of=Of(0, 1))
    if len(whole) == len(ranks[0]):
        for place, part in enumerate(whole):
            assert sorted(i for own in ranks for i in own[place]) == list(part)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_image_of_a_set_is_read_once(count: int) -> None:
    for images in (0, 1, 15, 16, 17, 100):
        read = [own_places(images, 16, of=Of(rank, count)) for rank in range(count)]
        assert sorted(i for own in read for i in own) == list(range(images))


def test_batch_normalization_is_that_of_all_images(workers: Workers) -> None:
    asked: dict[str, Any] = {"images": 7, "dtypes": ["float32", "bfloat16"]}
    (whole,) = workers.done("normalized", 1, **asked)
    both = workers.done("normalized", 2, **asked)
    for place, near in enumerate([{"rtol": 1e-4, "atol": 2e-5}, {"rtol": 0.03, "atol": 0.03}]):
        parts = [one[place] for one in both]
        for name in ("y", "x", "untrained"):
            assert [len(part[name]) for part in parts] == [4, 3]
            found = np.concatenate([part[name] for part in parts])
            np.testing.assert_allclose(found, whole[place][name], **near)
        for name in ("mean", "var", "weight", "bias"):
            np.testing.assert_array_equal(parts[0][name], parts[1][name])
            np.testing.assert_allclose(parts[0][name], whole[place][name], **near)


def test_evaluation_is_the_same_and_reads_no_image_twice(workers: Workers) -> None:
    sizes = [1, 40, 64]
    (whole,) = workers.done("evaluated", 1, sizes=sizes)
    both = workers.done("evaluated", 2, sizes=sizes)
    for place, images in enumerate(sizes):
        first, second, alone = both[0][place], both[1][place], whole[place]
        assert first["read"] + second["read"] == alone["read"] == images
        assert images < 17 or first["read"] < images
        np.testing.assert_array_equal(first["logits"], alone["logits"])
        np.testing.assert_array_equal(second["logits"], alone["logits"])
        np.testing.assert_array_equal(first["labels"], alone["labels"])


# A figure, one of each batch, and a histogram, which the others have too and look at for longer.
@pytest.mark.parametrize(
    "observers",
    [
        ("minmax", "ema", "percentile"),
        pytest.param(("entropy", "mse"), marks=pytest.mark.slow),
    ],
)
def test_calibration_finds_the_same_step_sizes(
    workers: Workers, observers: tuple[str, ...]
) -> None:
    asked: dict[str, Any] = {"source": "narrow.pt", "observers": observers}
    (one,) = workers.done("calibrated", 1, **asked)
    for two in workers.done("calibrated", 2, **asked):
        for observer in observers:
            assert len(one[observer]) > 20
            for name, scale in one[observer].items():
                np.testing.assert_allclose(two[observer][name], scale, rtol=1e-6, err_msg=name)


def weights_near(one: Path, other: Path, within: float) -> None:
    mine, theirs = load_checkpoint(one).state_dict, load_checkpoint(other).state_dict
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(theirs[name], tensor, atol=within, rtol=within, msg=name)


def test_training_goes_the_same_way(workers: Workers, place: Path) -> None:
    options: dict[str, Any] = {"weights": "narrow.pt", "epochs": 2, "ema": 0.5, **STEADY}
    (one,) = workers.done("trained", 1, output="one.pt", limit=160, **options)
    two, silent = workers.done("trained", 2, output="two.pt", limit=160, **options)
    assert len(one["losses"]) == 10
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-3)
    assert silent["losses"] == []
    assert two["top1"] == silent["top1"] == pytest.approx(one["top1"], abs=0.01)
    weights_near(place / "one.pt", place / "two.pt", 1e-3)
    assert not [path.name for path in place.iterdir() if path.name.startswith(".")]


# With larger steps this network makes 0.01 of the last bit of its weights: see below.
SHIFTED: dict[str, Any] = {
    "augment": "shift",
    "batch_size": 32,
    "lr": 0.005,
    "epochs": 2,
    "limit": 320,
}


def drift(one: dict[str, Any], other: dict[str, Any]) -> float:
    """By how much the losses of the first 20 steps differ at most."""
    assert len(one["losses"]) >= 20
    pairs = zip(one["losses"][:20], other["losses"][:20], strict=True)
    return max(abs(a - b) for a, b in pairs)


@pytest.mark.slow
def test_training_on_moved_images_goes_the_same_way(workers: Workers) -> None:
    (one,) = workers.done("trained", 1, output="moved1.pt", weights="narrow.pt", **SHIFTED)
    two, _ = workers.done("trained", 2, output="moved2.pt", weights="narrow.pt", **SHIFTED)
    assert drift(one, two) < 1e-3


@pytest.mark.slow
def test_two_processes_part_as_one_does_from_itself_by_the_last_bit_of_its_weights(
    workers: Workers, place: Path
) -> None:
    narrow, generator = load_checkpoint(place / "narrow.pt"), torch.Generator().manual_seed(1)
    near = {
        name: tensor * (1 + 1.2e-7 * torch.randint(-1, 2, tensor.shape, generator=generator))
        if tensor.is_floating_point() else tensor
        for name, tensor in narrow.state_dict.items()
    }  # fmt: skip
    save_checkpoint(replace(narrow, state_dict=near), place / "near.pt")
    large = {**SHIFTED, "lr": 0.02}
    (one,) = workers.done("trained", 1, output="large1.pt", weights="narrow.pt", **large)
    (itself,) = workers.done("trained", 1, output="large2.pt", weights="near.pt", **large)
    two, _ = workers.done("trained", 2, output="large3.pt", weights="narrow.pt", **large)
    # So much that what one process does to itself is no bound for small differences any more.
    assert drift(one, itself) > 1e-3
    assert drift(one, two) < 10 * drift(one, itself)
    # Before that has grown, the steps are the same.
    assert two["losses"][:3] == pytest.approx(one["losses"][:3], abs=1e-5)


def test_parts_of_a_step_go_the_same_way(workers: Workers, place: Path) -> None:
    options: dict[str, Any] = {"weights": "narrow.pt", "epochs": 1, "accumulate": 3, **STEADY}
    (one,) = workers.done("trained", 1, output="parts1.pt", limit=90, **options)
    two, _ = workers.done("trained", 2, output="parts2.pt", limit=90, **options)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
    weights_near(place / "parts1.pt", place / "parts2.pt", 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"macs": 0.6, "step": 1}, {"pattern": "2:4"}])
def test_pruning_picks_the_same_channels(
    workers: Workers, place: Path, options: dict[str, Any]
) -> None:
    (one,) = workers.done("pruned", 1, source="narrow.pt", output="p1.pt", **options)
    two, other = workers.done("pruned", 2, source="narrow.pt", output="p2.pt", **options)
    assert one == two == other
    # Another choice of channels would have other weights.
    weights_near(place / "p1.pt", place / "p2.pt", 1e-3)


@pytest.mark.slow
def test_quantization_aware_training_goes_the_same_way(workers: Workers) -> None:
    options: dict[str, Any] = {"freeze_bn": 0.0, "lr": 1e-4, "batch_size": 32}
    (one,) = workers.done("quantized", 1, source="narrow.pt", output="q1.pt", **options)
    outcomes = workers.outcomes("quantized", 2, source="narrow.pt", output="q2.pt", **options)
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert not any("Grad strides" in err for _, _, err in outcomes)
    two, other = [value for _, value, _ in outcomes]
    assert one["losses"][:5] == pytest.approx(two["losses"][:5], abs=1e-4)
    # What rounding to a grid makes of the last bit: a batch in another order does the same.
    assert one["losses"] == pytest.approx(two["losses"], abs=0.1)
    assert {**two, "losses": []} == other
    assert one["top1_float"] == two["top1_float"]
    assert one["agreement"] == pytest.approx(two["agreement"], abs=0.05)


@pytest.mark.slow
def test_the_others_end_when_a_process_is_killed_and_a_restart_goes_on(
    workers: Workers, place: Path
) -> None:
    options: dict[str, Any] = {"weights": "narrow.pt", "epochs": 2}
    workers.done("trained", 2, output="undisturbed.pt", **options)
    found = workers.outcomes("trained", 2, output="killed.pt", dies_at=15, **options)
    assert [code for code, _, _ in found] == [1, 9]
    assert "process 0 of 2 lost the others" in found[0][2]
    assert (place / ".killed.pt.resume").is_file()
    again, _ = workers.done("trained", 2, output="killed.pt", **options)
    # The first epoch of 10 steps was kept.
    assert len(again["losses"]) == 10
    weights_near(place / "undisturbed.pt", place / "killed.pt", 1e-6)


TRAIN = ["train", "--weights", "narrow.pt", "--data", "digits", "--limit", "40", "--epochs", "1"]


def test_one_process_alone_speaks_and_writes(workers: Workers, place: Path) -> None:
    told = [*TRAIN, "--arch", "resnet18", "--batch-size", "16", "-o", "said.pt"]
    found = workers.outcomes("command", 2, arguments=told, cwd=str(place))
    assert [code for code, _, _ in found] == [0, 0], found
    assert "epoch 1/1" in found[0][2]
    assert found[1][2] == ""
    assert (place / "said.pt").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["evaluate", "narrow.pt", "--data", "digits"], 2, "evaluate is done by one process"),
        (["shard", "photos", "-o", "shards"], 2, "shard is done by one process"),
        ([*TRAIN, "--arch", "resnet34", "-o", "x.pt"], 2, "weights narrow.pt are of resnet18"),
    ],
)
def test_what_cannot_be_is_one_message_with_its_exit_code(
    workers: Workers, place: Path, arguments: list[str], code: int, said: str
) -> None:
    found = workers.outcomes("command", 2, arguments=arguments, cwd=str(place))
    assert [one[0] for one in found] == [code, code]
    assert said in found[0][2]
    # A launcher ends the others before they say it too.
    assert "process 1: error" in found[1][2]


def test_a_process_that_is_alone_imports_nothing_of_the_distributed_part(
    workers: Workers,
) -> None:
    assert workers.done("modules", 1) == [["edgeresnet.host.parallel.processes"]]
