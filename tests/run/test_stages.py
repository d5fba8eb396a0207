"""What reruns a stage: contents and settings; never paths, and never the package's version."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.run import runner, stages
from edgeresnet.run.folder import RECORDS
from edgeresnet.run.quantize_stage import quantize_stage
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.runner import run_recipe
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS
from tests.cli.test_app import image_folder
from tests.copies import REPOSITORY
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.small_bundles import write_small_bundle

RECIPE = """
name: tiny
data: {data}
model: {{weights: {weights}}}
"""
Ran = Callable[..., list[str]]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Runs a recipe of which only 01-train is left, and gives the stages that were not kept."""
    monkeypatch.setattr(runner, "quantize_stage", lambda run, variant: None)
    monkeypatch.setattr(runner, "quantize_budgets", lambda run, variant: [], raising=False)
    monkeypatch.setattr(runner, "quantize_rungs", lambda run, variant: [])
    monkeypatch.setattr(runner, "export_stage", lambda *arguments: None)
    monkeypatch.setattr(runner, "_compare", lambda *arguments: {"budgets": []})
    monkeypatch.setattr(runner, "_write_page", lambda run: None)

    def run(
        data: str,
        weights: str,
        *overrides: str,
        fresh: bool = False,
        said: list[str] | None = None,
    ) -> list[str]:
        path = tmp_path / "tiny.yaml"
        path.write_text(RECIPE.format(data=data, weights=weights))
        lines: list[str] = [] if said is None else said
        recipe = load_recipe(path, overrides)
        run_recipe(recipe, tmp_path / "run", progress=False, on_step=lines.append, fresh=fresh)
        return [line.split(":")[0] for line in lines if line.endswith(": running")]

    return run


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[str, str]:
    """A folder of images, and weights."""
    narrow_weights(tmp_path / "w.pt", classes=2)
    return str(image_folder(tmp_path / "photos", ["a", "b"], size=8)), str(tmp_path / "w.pt")


def test_a_stage_reruns_when_an_image_changes_under_its_name(
    ran: Ran, inputs: tuple[str, str]
) -> None:
    assert ran(*inputs) == ["01-train"]
    assert ran(*inputs) == []
    Image.new("RGB", (8, 8), (1, 2, 3)).save(Path(inputs[0]) / "a" / "0.png")
    assert ran(*inputs) == ["01-train"]


def test_a_stage_stands_when_data_and_weights_move(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path
) -> None:
    assert ran(*inputs) == ["01-train"]
    Path(inputs[0]).rename(tmp_path / "elsewhere")
    Path(inputs[1]).rename(tmp_path / "other-name.pt")
    assert ran(str(tmp_path / "elsewhere"), str(tmp_path / "other-name.pt")) == []


def test_a_stage_reruns_when_weights_below_the_home_folder_change(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ran("~/photos", "~/w.pt") == ["01-train"]
    narrow_weights(tmp_path / "w.pt", classes=2, size=16)
    assert ran("~/photos", "~/w.pt") == ["01-train"]
    with pytest.raises(InputError, match=r"checkpoint ~/gone\.pt does not exist"):
        ran("~/photos", "~/gone.pt")


def test_a_stage_stands_when_the_package_is_upgraded_and_not_when_the_stage_is(
    ran: Ran, inputs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ran(*inputs) == ["01-train"]
    monkeypatch.setattr(stages, "__version__", "999", raising=False)
    assert ran(*inputs) == []
    monkeypatch.setitem(stages.STAGE_VERSIONS, "01-train", 999)
    assert ran(*inputs) == ["01-train"]


def test_the_first_stage_reruns_when_weights_are_read_otherwise(
    ran: Ran, inputs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as when moving averages are taken, or biases are folded, that were not before."""
    assert ran(*inputs) == ["01-train"]
    monkeypatch.setattr(stages, "WEIGHTS_READING", 999, raising=False)
    assert ran(*inputs) == ["01-train"]


def test_a_stage_stands_when_only_the_images_to_compare_on_change(
    ran: Ran, inputs: tuple[str, str]
) -> None:
    assert ran(*inputs) == ["01-train"]
    assert ran(*inputs, "compare.limit=3") == []


def test_fresh_removes_all_from_which_a_stage_would_go_on(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path
) -> None:
    ran(*inputs)
    run_dir = tmp_path / "run"
    left = [
        run_dir / "01-train" / "resume.pt",
        run_dir / "02-prune" / "work" / "cut-1.pt",
        run_dir / "03-quantize" / "resume.pt",
        run_dir / "03-quantize-dense" / "resume.pt",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left over")
    assert ran(*inputs, fresh=True) == ["01-train"]
    assert [path for path in left if path.exists()] == []
    assert not (run_dir / "02-prune" / "work").exists()


def test_every_stage_has_a_version(tmp_path: Path) -> None:
    run = stages.Run(tmp_path, load_any(), progress=False, on_step=lambda text: None)
    keys = set()
    for name in ("01-train", "02-prune", "03-quantize", "03-quantize-dense", "04-export-onnx-int8"):
        (tmp_path / name).mkdir()
        keys.add(run.stage(name, {"a": 1}, tmp_path / name, lambda: None))
        assert json.loads((tmp_path / RECORDS / f"{name}.json").read_text())["key"] in keys
    assert len(keys) == 5
    with pytest.raises(TypeError):
        # What is no plain value, such as a path, must not slip into a key.
        run.stage("01-train", {"data": tmp_path}, tmp_path, lambda: None)


def load_any() -> Any:
    return load_recipe(REPOSITORY / "recipes" / "quickstart.yaml")


def test_the_first_stage_has_the_inputs_that_the_recipe_tells(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path
) -> None:
    assert ran(*inputs) == ["01-train"]
    assert ran(*inputs, "inputs={}") == []
    path = tmp_path / "run" / "01-train" / "checkpoint.pt"
    before = load_checkpoint(path).input_spec
    told = ("inputs.mean=[0.5, 0.4, 0.3]", "inputs.std=1/255", "inputs.channels=bgr")
    assert ran(*inputs, *told, "inputs.crop_ratio=0.875") == ["01-train"]
    assert load_checkpoint(path).input_spec == replace(
        before, mean=(0.5, 0.4, 0.3), std=(1 / 255,) * 3, channels="bgr", crop_ratio=0.875
    )
    assert ran(*inputs, *told, "inputs.crop_ratio=0.875") == []
    assert ran(*inputs, "inputs.interpolation=bicubic", "inputs.resize=squash") == ["01-train"]
    assert load_checkpoint(path).input_spec == replace(
        before, interpolation="bicubic", resize="squash"
    )


def test_the_first_stage_reruns_when_what_lies_beside_the_weights_changes(
    ran: Ran, inputs: tuple[str, str]
) -> None:
    config = Path(inputs[1]).with_name("config.json")
    assert ran(*inputs) == ["01-train"]
    config.write_text('{"num_classes": 2, "image_size": 16}')
    assert ran(*inputs) == ["01-train"]
    assert ran(*inputs) == []


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (("inputs.mean=[104, 117, 123]",), "inputs.mean: .*not of values in 0 to 1"),
        (("inputs.interpolation=hamming",), "inputs.interpolation: .*is not known"),
        (("inputs.resize=32", "inputs.crop_ratio=0.9"), "inputs: .*both say"),
        (("inputs.resize=32", "image_size=64"), "inputs: .*leaves less than the 64 px"),
        (("inputs.means=0.5",), "inputs.means: unknown key .is mean meant"),
    ],
)
def test_inputs_of_a_recipe_are_refused_when_they_cannot_be(
    ran: Ran, inputs: tuple[str, str], told: tuple[str, ...], fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        ran(*inputs, *told)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[]", '{"key": 1}', '{"stage": "a", "key": "b", "seconds": NaN}']
)
def test_a_stage_reruns_when_its_record_is_damaged(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path, text: str
) -> None:
    assert ran(*inputs) == ["01-train"]
    (tmp_path / "run" / ".stages" / "01-train.json").write_text(text)
    assert ran(*inputs) == ["01-train"]
    assert ran(*inputs) == []


@pytest.mark.parametrize("content", [b"", b"half", None])
def test_a_stage_reruns_and_says_so_when_its_output_is_damaged(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path, content: bytes | None
) -> None:
    ran(*inputs)
    path = tmp_path / "run" / "01-train" / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] if content is None else content)
    said: list[str] = []
    assert ran(*inputs, said=said) == ["01-train"]
    assert any("is done again, because" in line and "checkpoint.pt is" in line for line in said)
    assert path.read_bytes() == whole
    assert ran(*inputs) == []


def test_a_stage_stands_that_an_older_version_recorded_without_hashes(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path
) -> None:
    ran(*inputs)
    path = tmp_path / "run" / ".stages" / "01-train.json"
    record = json.loads(path.read_text())
    assert len(record.pop("outputs")["01-train/checkpoint.pt"]) == 64
    path.write_text(json.dumps(record))
    assert ran(*inputs) == []
    (tmp_path / "run" / "01-train" / "checkpoint.pt").write_bytes(b"")
    assert ran(*inputs) == ["01-train"]


@pytest.mark.parametrize("damaged", ["manifest.json", "golden.npz"])
def test_a_damaged_bundle_of_a_run_is_made_again(tmp_path: Path, damaged: str) -> None:
    out_dir, said = tmp_path / "04-export" / "x", list[str]()
    run = stages.Run(tmp_path, load_any(), progress=False, on_step=said.append)

    def stage() -> None:
        run.stage("04-export-x", {}, out_dir, lambda: write_small_bundle(out_dir))

    stage()
    (out_dir / damaged).write_bytes(b"")
    stage()
    assert "is done again, because" in said[2]
    stage()
    assert said[-1].startswith("04-export-x: done before")
    kept = [path.name for path in out_dir.parent.iterdir() if path != out_dir]
    assert kept == (["x.damaged-1"] if damaged == "manifest.json" else [])


@pytest.mark.parametrize("name", [".stages", "results.json", "01-train", ".stages/01-train.json"])
def test_a_run_is_refused_when_its_files_lead_elsewhere(
    ran: Ran, inputs: tuple[str, str], tmp_path: Path, name: str
) -> None:
    other, link = tmp_path / "other", tmp_path / "run" / name
    other.mkdir()
    (other / "mine.json").write_text("{}")
    (tmp_path / "run" / (".stages" if name != ".stages" else ".")).mkdir(parents=True)
    link.symlink_to(other if "json" not in name else other / "mine.json")
    with pytest.raises(InputError, match="is a link"):
        ran(*inputs, fresh=True)
    assert (other / "mine.json").read_text() == "{}"
    assert list(other.iterdir()) == [other / "mine.json"]


@pytest.mark.parametrize("method", ["ptq", "qat", "auto"])
def test_the_key_of_quantize_is_the_older_versions_when_nothing_new_is_used(
    method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed: list[Any] = []
    recipe = load_recipe(REPOSITORY / "recipes" / "quickstart.yaml", ["quantize.weight_bits=7"])
    run = stages.Run(tmp_path, recipe, False, keyed.append)
    monkeypatch.setattr(
        stages.Run, "stage", lambda self, name, settings, *rest: keyed.append(settings) or "key"
    )
    options = QuantizeOptions(method=method, weight_bits=7)
    variant = stages.Variant("", stages.Stage(tmp_path, "before"), options)
    quantize_stage(run, variant)
    train = QAT_DEFAULTS.to_dict()
    # Written out as it was before calibration images could be left out.
    wanted = {
        "method": method, "observer": "mse", "calibration_images": 512, "freeze_bn": 0.5,
        "train": train, "weight_bits": 7, "seed": 0,
    }  # fmt: skip
    if method == "auto":
        wanted["budget"] = [0.005, False]
    assert keyed == [{"before": "before", "quantize": wanted}]


@pytest.mark.parametrize(
    ("told", "precision", "saturates"),
    [(None, "int8", None), ("any", "int8", True), ("any", "fp32", None), ("vnni", "int8", False)],
)
def test_an_export_for_another_device_has_a_key_of_what_that_device_is(
    told: str | None, precision: str, saturates: bool | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    keyed: list[Any] = []
    work: list[Callable[[], object]] = []
    exported: list[Any] = []
    if told == "vnni":
        told = str(tmp_path / "there.json")
        environment = {"machine": "x86_64", "cpu_flags": ["avx512_vnni"]}
        Path(told).write_text(json.dumps({"environment": environment}))
    recipe = load_recipe("quickstart", [f"export.for_device={told}"] if told else [])

    def stage(self: object, name: str, settings: Any, output: Path, does: Any) -> str:
        keyed.append(settings)
        work.append(does)
        return "key"

    monkeypatch.setattr(stages.Run, "stage", stage)
    monkeypatch.setattr(stages, "export", lambda *_, **given: exported.append(given))
    run = stages.Run(tmp_path, recipe, False, keyed.append)
    stages.export_stage(run, "x", "onnx", precision, stages.Stage(tmp_path, "before"))
    usual = {
        "targets": ("onnx", "openvino"), "precisions": ("fp32", "int8"), "batch": 1,
        "embed_preprocess": False,
    }  # fmt: skip
    if saturates is not None:
        usual["saturates"] = saturates
    assert keyed == [{"before": "before", "export": usual, "of": ["onnx", precision]}]
    work[0]()
    given = exported[0]["for_device"]
    assert (given is None) is (saturates is None)
    assert given is None or str(given) == told


def test_an_export_of_features_gives_them_and_has_a_key_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed: list[Any] = []
    exported: list[Any] = []
    recipe = load_recipe("quickstart", ["export.features=[pool, C3]"])

    def stage(self: object, name: str, settings: Any, output: Path, does: Any) -> str:
        keyed.append(settings)
        does()
        return "key"

    monkeypatch.setattr(stages.Run, "stage", stage)
    monkeypatch.setattr(stages, "export", lambda *_, **given: exported.append(given))
    run = stages.Run(tmp_path, recipe, False, keyed.append)
    stages.export_stage(run, "x", "onnx", "int8", stages.Stage(tmp_path, "before"))
    assert keyed[0]["export"]["features"] == ("C3", "pool")
    options = exported[0]["options"]
    assert (options.features, options.logits) == (("C3", "pool"), True)


@pytest.mark.parametrize("told", ["[C6]", "[C3, C3]"])
def test_features_of_a_recipe_are_refused_when_they_are_none(told: str) -> None:
    with pytest.raises(InputError, match="features"):
        load_recipe("quickstart", [f"export.features={told}"])
