from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeresnet.device.data.preprocess import normalize
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.host.models.validation import predict_logits
from edgeresnet.host.models.weights import tree_digest
from edgeresnet.host.training import fit as fit_module
from edgeresnet.host.training.fit import TrainResult, fit
from edgeresnet.host.training.resume import discard_resume
from edgeresnet.host.training.step import Learner, TrainHooks
from edgeresnet.settings.training import TrainOptions
from tests.blobs import SHORT, SPEC, blobs, network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def trained(options: TrainOptions, model: nn.Module | None = None, **more: Any) -> TrainResult:
    data = blobs("train"), blobs("val")
    return fit(model or network(), *data, SPEC, options, **{"progress": False, **more})


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


def assert_equal_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert differing == []


def test_fit_learns_when_the_task_is_easy() -> None:
    result = trained(replace(SHORT, epochs=8))
    assert result.top1 > 0.9
    assert result.epochs_run == 8
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert [entry["epoch"] for entry in result.history] == list(range(1, 9))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "lr": 0.01},
        {"precision": "bf16"},
        {"ema": 0.9},
        {"clip_norm": 1.0},
    ],
)
def test_fit_learns_when_an_option_is_on(changes: dict[str, Any]) -> None:
    result = trained(replace(SHORT, epochs=8, **changes))
    assert result.top1 > 0.9
    assert result.state_dict["0.weight"].dtype == torch.float32


def test_fit_leaves_the_returned_weights_in_the_model_when_done() -> None:
    model = network()
    result = trained(replace(SHORT, ema=0.8), model)
    assert not model.training
    assert_equal_weights(dict(model.state_dict()), result.state_dict)
    logits, labels = predict_logits(model, blobs("val"), SPEC)
    assert result.top1 == (logits.argmax(1) == labels).mean()


def test_fit_gives_the_same_weights_when_the_seed_is_the_same() -> None:
    first, again = trained(SHORT), trained(SHORT)
    other = trained(replace(SHORT, seed=1))
    assert_equal_weights(first.state_dict, again.state_dict)
    assert not torch.equal(first.state_dict["0.weight"], other.state_dict["0.weight"])


class KilledError(Exception):
    """Stands for kill -9."""


def kill_behind(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    original = Learner.step
    done: list[int] = []

    def step(
        self: Learner, images: Tensor, labels: Tensor, of: int | None = None
    ) -> tuple[Tensor, Tensor]:
        if len(done) == steps:
            raise KilledError
        done.append(1)
        return original(self, images, labels, of)

    monkeypatch.setattr(Learner, "step", step)


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"patience": 5}, {"optimizer": "adamw"}])
@pytest.mark.parametrize("steps", [3, 4, 8])
def test_fit_ends_with_the_same_weights_when_killed_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, changes: dict[str, Any]
) -> None:
    options = replace(SHORT, augment="light", **changes)
    expected = trained(options)
    resume_path = tmp_path / "resume.pt"
    monkeypatch.setattr(fit_module, "RESUME_EVERY_S", 0.0)
    with monkeypatch.context() as patch:
        kill_behind(patch, steps)
        with pytest.raises(KilledError):
            trained(options, resume_path=resume_path)
    # Epochs have three steps.
    standing = torch.load(resume_path, weights_only=True)["standing"]
    assert (standing["epoch"], standing["step"]) == (steps // 3, steps % 3)
    calls: list[float] = []
    result = trained(
        options,
        network(seed=9),
        resume_path=resume_path,
        hooks=TrainHooks(on_epoch=lambda model, share: calls.append(share)),
    )
    assert len(calls) == 3 - steps // 3
    assert_equal_weights(result.state_dict, expected.state_dict)
    assert without_seconds(result.history) == without_seconds(expected.history)
    assert result.top1 == expected.top1


def test_fit_trains_nothing_when_the_resume_file_is_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume_path = tmp_path / "resume.pt"
    expected = trained(SHORT, resume_path=resume_path)
    kill_behind(monkeypatch, 0)
    result = trained(SHORT, network(seed=9), resume_path=resume_path)
    assert_equal_weights(result.state_dict, expected.state_dict)
    assert result.top1 == expected.top1


@pytest.mark.parametrize("change", [{"options": replace(SHORT, lr=0.04)}, {"resume_key": "other"}])
def test_fit_starts_afresh_when_the_resume_file_is_of_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    resume_path = tmp_path / "resume.pt"
    trained(SHORT, resume_path=resume_path)
    options = change.pop("options", SHORT)
    expected = trained(options)
    result = trained(options, resume_path=resume_path, progress=True, **change)
    assert "resume.pt is of other settings" in capsys.readouterr().err
    assert_equal_weights(result.state_dict, expected.state_dict)


def test_fit_starts_afresh_when_the_resume_file_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume_path = tmp_path / "resume.pt"
    resume_path.write_bytes(b"damaged")
    assert trained(SHORT, resume_path=resume_path, progress=True).epochs_run == 3
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["a weight", "a moment", "how far it is", "its best"])
@pytest.mark.parametrize("signed", [True, False])
def test_fit_starts_afresh_when_its_resume_file_is_not_what_was_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, signed: bool
) -> None:
    resume_path = tmp_path / "resume.pt"
    fresh = trained(SHORT, resume_path=resume_path)
    content = torch.load(resume_path, weights_only=True)
    if part == "a weight":
        name = next(iter(content["model"]))
        content["model"][name] = content["model"][name].flatten()
    elif part == "a moment":
        for state in content["optimizer"]["state"].values():
            state["momentum_buffer"] = torch.zeros(7)
    elif part == "how far it is":
        content["standing"]["epoch"] = "2"
    else:
        content["standing"]["best"] = {}
    digest = content.pop("edgeresnet_sha256")
    if not signed:  # as an earlier version, or whoever makes one on purpose
        digest = tree_digest(content)
    torch.save({**content, "edgeresnet_sha256": digest}, resume_path)
    again = trained(SHORT, resume_path=resume_path, progress=True)
    assert "is damaged" in capsys.readouterr().err
    assert again.epochs_run == 3
    assert all(torch.equal(again.state_dict[k], t) for k, t in fresh.state_dict.items())


def test_fit_takes_its_resume_file_when_only_the_workers_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume_path = tmp_path / "resume.pt"
    trained(SHORT, resume_path=resume_path)
    trained(replace(SHORT, workers=2), resume_path=resume_path, progress=True)
    assert "resuming behind epoch 3" in capsys.readouterr().err


def test_fit_keeps_to_the_quota_and_resumes_with_the_threads_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    resume_path = tmp_path / "resume.pt"
    threads: list[int] = []

    def on_epoch(model: nn.Module, share: float) -> None:
        threads.append(torch.get_num_threads())
        if len(threads) == 2:
            raise KilledError

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr("edgeresnet.device.machine.cpu.cpu_quota", lambda root: 2.0)
        monkeypatch.setattr("edgeresnet.device.machine.cpu.usable_cores", lambda root: 2)
        with pytest.raises(KilledError):
            trained(SHORT, resume_path=resume_path, hooks=TrainHooks(on_epoch=on_epoch))
        # The container came back smaller: a training begun there has one thread, this one its two.
        monkeypatch.setattr("edgeresnet.device.machine.cpu.cpu_quota", lambda root: 1.0)
        assert trained(SHORT).threads == 1
        result = trained(
            SHORT, resume_path=resume_path, hooks=TrainHooks(on_epoch=on_epoch), progress=True
        )
        assert result.threads == 2
        assert threads == [2, 2, 2, 2]
        assert "going on with 2 threads" in capsys.readouterr().err
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_discard_resume_removes_the_file_when_there_is_one(tmp_path: Path) -> None:
    resume_path = tmp_path / "resume.pt"
    resume_path.write_bytes(b"")
    discard_resume(resume_path)
    discard_resume(resume_path)
    discard_resume(None)
    assert not resume_path.exists()


def spoil_from(epoch: int) -> Callable[[nn.Module, float], None]:
    """Before every one of ten epochs from ``epoch`` on, makes the classifier always say 0."""

    def on_epoch(model: nn.Module, share: float) -> None:
        if round(share * 10) >= epoch:
            with torch.no_grad():
                model.get_parameter("6.bias").copy_(torch.tensor([100.0, -100.0]))

    return on_epoch


def test_fit_returns_the_best_epoch_when_patience_runs_out() -> None:
    model = network()
    seen: list[dict[str, Tensor]] = []
    spoil = spoil_from(2)

    def on_epoch(model: nn.Module, share: float) -> None:
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        spoil(model, share)

    options = replace(SHORT, epochs=10, patience=2, augment="none", lr=0.01)
    result = trained(options, model, hooks=TrainHooks(on_epoch=on_epoch))
    top1s = [entry["top1"] for entry in result.history]
    best = int(np.argmax(top1s))
    assert result.epochs_run == best + 1 + 2 < 10
    assert result.top1 == max(top1s) > top1s[-1]
    assert_equal_weights(result.state_dict, seen[best + 1])


def test_fit_returns_the_last_epoch_when_there_is_no_patience() -> None:
    result = trained(replace(SHORT, epochs=10, lr=0.01), hooks=TrainHooks(on_epoch=spoil_from(9)))
    top1s = [entry["top1"] for entry in result.history]
    assert result.epochs_run == 10
    assert result.top1 == top1s[-1] < max(top1s)


def test_fit_calls_on_epoch_with_the_share_done_when_each_epoch_begins() -> None:
    shares: list[float] = []
    trained(
        replace(SHORT, epochs=4),
        hooks=TrainHooks(on_epoch=lambda model, share: shares.append(share)),
    )
    assert shares == [0, 0.25, 0.5, 0.75]


def test_fit_validates_the_last_epoch_too_when_validation_is_rare() -> None:
    result = trained(replace(SHORT, epochs=5, validate_every=2))
    assert [e["epoch"] for e in result.history if "top1" in e] == [2, 4, 5]


@pytest.mark.parametrize("patience", [1, 3])
def test_fit_stops_only_behind_a_validation_when_patience_is_below_validate_every(
    patience: int,
) -> None:
    options = replace(SHORT, epochs=10, patience=patience, validate_every=4, augment="none")
    result = trained(options, hooks=TrainHooks(on_epoch=spoil_from(5)))
    top1s = {entry["epoch"]: entry["top1"] for entry in result.history if "top1" in entry}
    assert result.epochs_run == 8
    assert (list(top1s), result.top1) == ([4, 8], top1s[4])
    assert top1s[4] > top1s[8]


def test_fit_validates_once_when_validation_is_rarer_than_there_are_epochs() -> None:
    result = trained(replace(SHORT, epochs=3, patience=1, validate_every=50))
    assert result.epochs_run == 3
    assert result.top1 == result.history[-1]["top1"] > 0


def test_fit_starts_afresh_when_the_images_changed_under_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume_path = tmp_path / "resume.pt"
    trained(SHORT, resume_path=resume_path)
    other, val_set = blobs("train", seed=1), blobs("val")
    expected = fit(network(), other, val_set, SPEC, SHORT, progress=False)
    result = fit(network(), other, val_set, SPEC, SHORT, resume_path=resume_path)
    assert "resume.pt is of other settings" in capsys.readouterr().err
    assert_equal_weights(result.state_dict, expected.state_dict)


def test_fit_uses_the_given_groups_when_param_groups_is_set() -> None:
    def only_classifier(model: nn.Module, options: TrainOptions) -> list[dict[str, Any]]:
        return [{"params": list(model.get_submodule("6").parameters()), "lr": 0.02}]

    first = {name: value.clone() for name, value in network().state_dict().items()}
    result = trained(SHORT, hooks=TrainHooks(param_groups=only_classifier))
    assert torch.equal(result.state_dict["0.weight"], first["0.weight"])
    assert not torch.equal(result.state_dict["6.weight"], first["6.weight"])


def test_fit_names_step_and_lr_when_the_loss_explodes() -> None:
    settings = replace(SHORT, warmup=0.0)
    # Beyond what settings take, so that it explodes at once.
    object.__setattr__(settings, "lr", 1e25)
    with pytest.raises(CheckError, match=r"diverged .*epoch 1") as caught:
        trained(settings)
    assert "lr 1e+25 is probably too high" in caught.value.fix


def test_fit_blames_the_weights_when_the_first_loss_is_nan() -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter("6.bias").fill_(float("nan"))
    with pytest.raises(CheckError, match="at step 1 of 3 in epoch 1") as caught:
        trained(SHORT, model)
    assert "starting weights" in caught.value.fix


def test_fit_refuses_when_fp16_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingError, match="fp16 needs an NVIDIA GPU"):
        trained(replace(SHORT, precision="fp16"))


def test_fit_refuses_when_distillation_has_no_teacher() -> None:
    with pytest.raises(InputError, match=r"distill 0\.5 needs a teacher"):
        trained(replace(SHORT, distill=0.5))


class Opposite(nn.Module):
    """A teacher that is sure of the wrong class."""

    def forward(self, x: Tensor) -> Tensor:
        top_minus_bottom = x[:, :, :4].mean((1, 2, 3)) - x[:, :, 4:].mean((1, 2, 3))
        return torch.stack([-top_minus_bottom, top_minus_bottom], 1) * 10


@pytest.mark.parametrize(("distill", "share_right"), [(1.0, 0.0), (0.1, 1.0)])
def test_fit_follows_the_teacher_when_its_weight_is_large(
    distill: float, share_right: float
) -> None:
    options = replace(SHORT, epochs=8, distill=distill, augment="none")
    assert abs(trained(options, hooks=TrainHooks(teacher=Opposite())).top1 - share_right) < 0.1


def test_predict_logits_equals_the_network_when_batches_are_small() -> None:
    model = network().train()
    data = blobs("val", 10)
    logits, labels = predict_logits(model, data, SPEC, batch_size=4)
    assert model.training
    with torch.inference_mode():
        expected = model.eval()(torch.from_numpy(normalize(data.pixels, SPEC)))
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    assert labels.tolist() == data.labels.tolist()


def test_fit_writes_one_line_an_epoch_when_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    trained(SHORT, progress=True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("loss" in line and "val top-1" in line and "images/s" in line for line in lines)


def test_fit_is_silent_when_progress_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    trained(SHORT)
    assert capsys.readouterr() == ("", "")
