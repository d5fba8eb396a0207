"""The audit of a run's stages: records, files, checkpoints and what quantizing cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import NotRequired

from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.measure.accuracy import Predictions
from edgeresnet.device.measure.answer_claims import undecided
from edgeresnet.device.measure.class_claims import top1_fault
from edgeresnet.device.measure.neighbours import by_neighbours
from edgeresnet.device.measure.sequential import Drop, looks, order
from edgeresnet.errors import EdgeResNetError, InputError
from edgeresnet.progress import TaskContext
from edgeresnet.results.audit import ClaimsOf
from edgeresnet.run.making import Making
from edgeresnet.run.recorded import EXPORT, QUANTIZE, DataAtHand, Recorded
from edgeresnet.run.stage_record import REPORT, QuantizeReport, output_hashes
from edgeresnet.untrusted import read_record

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint

# Share of the logits' range by which PyTorch may answer otherwise, on the same machine (with other
# threads) and on another: in float, and where activations are rounded to integers and a last bit
# may decide for the next one.
SAME_FLOAT, OTHER_FLOAT = 1e-4, 1e-3
SAME_INTEGERS, OTHER_INTEGERS = 3e-3, 3e-2
# Of a report, what stands in the checkpoint too.
OF_REPORT = ("method", "images", "top1_float", "top1_int8", "drop", "lost", "gained", "agreement")


class AuditedReport(QuantizeReport):
    """Of the report of 03-quantize, what an audit asks beside what a run does."""

    top1_int8: NotRequired[float | None]


def record_claims(run: Recorded, stage: str, claims: ClaimsOf) -> None:
    """The key of a stage's record, what it begins with, and the hashes of what it wrote."""
    record = run.records[stage]
    if "version" not in record or "settings" not in record:
        claims.unchecked("record", "an older version wrote it, without settings")
    else:
        own = Making(stage, record["version"], record["settings"]).key
        faults = [] if own == record["key"] else ["its key is not that of its settings"]
        before = run.before(stage)
        told = run.settings(stage).get("before")
        if before is not None and (before not in run.records or told != run.records[before]["key"]):
            faults.append(f"what it begins with is not {before} of this run")
        claims.judge("record", faults, "its key is that of its settings")
    if stage.startswith(EXPORT):
        return
    checkpoint = run.checkpoint(stage)
    told_hashes, there = record.get("outputs", {}), output_hashes(run.path, checkpoint)
    others = sorted(
        name
        for name in told_hashes.keys() | there.keys()
        if told_hashes.get(name) != there.get(name)
    )
    faults = [f"{name} is not what was written (its sha256 differs)" for name in others]
    claims.judge("files", faults, f"{len(there)} files have the record's sha256")


def loaded(run: Recorded, stage: str, claims: ClaimsOf) -> Checkpoint | None:
    """A stage's checkpoint, where it can be read."""
    try:
        from edgeresnet.host.models.checkpoint import load_checkpoint
    except ImportError as error:
        claims.unchecked("checkpoint", f"PyTorch is not here: {error}")
        return None
    try:
        return load_checkpoint(str(run.checkpoint(stage)))
    except InputError as error:
        claims.judge("checkpoint", error.cause, "")
        return None


def answers_of(
    run: Recorded, checkpoint: Checkpoint, data: DataAtHand, context: TaskContext
) -> tuple[Predictions | None, str]:
    """What a checkpoint answers in PyTorch to all validation images of the run; or why not.

    Run as training and quantizing run it, so that the same machine gives the same bits.
    """
    if data.spec is None:
        return None, data.why
    from edgeresnet.host.models.validation import predict_logits
    from edgeresnet.host.training.splits import open_splits_for

    own = TaskContext(data=data.spec, limit=run.limit, skip_broken=context.skip_broken)
    try:
        checkpoint, _, images = open_splits_for(checkpoint, own, unlabelled=True)
    except EdgeResNetError as error:
        return None, error.cause
    logits, labels = predict_logits(checkpoint.build(), images, checkpoint.input_spec)
    found = Predictions(logits, labels, 0.0, 0.0, tuple(checkpoint.classes), is_labelled(images))
    if checkpoint.classes:
        return found, ""
    if not found.labelled:
        return None, "it gives embeddings, and the data has no labels"
    return by_neighbours(replace(found, classes=tuple(images.classes))), ""


def close_bound(predictions: Predictions, *, integers: bool, same_machine: bool) -> float:
    """How far from these logits PyTorch may have been when the record was made."""
    here, elsewhere = (SAME_INTEGERS, OTHER_INTEGERS) if integers else (SAME_FLOAT, OTHER_FLOAT)
    spread = float(np.ptp(predictions.logits)) or 1.0
    return (here if same_machine else elsewhere) * spread


def top1_claim(
    run: Recorded,
    checkpoint: Checkpoint,
    predictions: Predictions | None,
    why: str,
    claims: ClaimsOf,
) -> None:
    """The top-1 that a float checkpoint tells of itself."""
    told = checkpoint.provenance
    if told.get("pruning"):
        figure, images = told["pruning"].get("top1"), None
    else:
        figure, images = told.get("top1"), told.get("val_images")
    if figure is None:
        return
    if predictions is None:
        claims.unchecked("top-1", why)
        return
    n = len(predictions.labels)
    if not predictions.labelled or images not in (None, n):
        claims.unchecked("top-1", f"it is of {images} other images")
        return
    bound = close_bound(predictions, integers=False, same_machine=run.same_machine())
    fault = top1_fault(predictions, float(figure), bound)
    claims.judge("top-1", fault, f"{figure:.4f} on {n} images, in PyTorch")


def report_claims(
    run: Recorded,
    stage: str,
    checkpoint: Checkpoint,
    pair: tuple[Predictions, Predictions] | None,
    why: str,
    claims: ClaimsOf,
) -> None:
    """What quantizing cost, as ``report.json`` says it.

    Args:
        run: of the stage.
        stage: 03-quantize, or that of the dense network.
        checkpoint: that it wrote.
        pair: answers of the float and of the quantized checkpoint to all validation images.
        why: there are none.
        claims: takes the lines.
    """
    path = run.checkpoint(stage).with_name(REPORT)
    try:
        report = read_record(path, AuditedReport, "report", "run the stage again.")
    except InputError as error:
        claims.judge("report", error.cause, "")
        return
    faults = _report_faults(report, checkpoint.quantization or {})
    if stage == QUANTIZE and run.results is not None:
        rungs = run.results.get("rungs")
        if rungs is not None and rungs != report.get("rungs"):
            faults.append("results.json has other rungs")
    claims.judge("report", faults, "its figures go together, and with those in the checkpoint")
    if pair is None or report["top1_float"] is None or "images" not in report:
        claims.unchecked("accuracy", why or "it tells none")
        return
    allowed = sum(
        undecided(one, close_bound(one, integers=integers, same_machine=run.same_machine()))
        for one, integers in zip(pair, (False, True), strict=True)
    )
    faults = _accuracy_faults(report, pair, run.seed, allowed)
    held = f"top-1 {report['top1_float']:.4f} in float, on {report['images']} images, in PyTorch"
    claims.judge("accuracy", faults, held)


def _report_faults(report: AuditedReport, told: Mapping[str, Any]) -> list[str]:
    faults = [
        f"{key} is {report[key]!r}, and {told[key]!r} in the checkpoint"  # type: ignore[literal-required]
        for key in OF_REPORT
        if key in report and key in told and report[key] != told[key]  # type: ignore[literal-required]
    ]
    lost, gained, n = report.get("lost"), report.get("gained"), report.get("images")
    drop, interval = report.get("drop"), report.get("drop_interval")
    classes = (report.get("class_changes") or {}).values()
    if classes and [sum(one[k] for one in classes) for k in range(3)] != [n, lost, gained]:
        faults.append(f"its classes have other sums than {lost} lost and {gained} gained of {n}")
    if lost is None or gained is None or drop is None or not n:
        return faults
    own = Drop(lost, gained, n)
    if abs(own.value - drop) > 1e-9:
        faults.append(f"{lost} images lost and {gained} gained of {n} are no drop of {drop:.4f}")
    counts = report.get("looks", [n])
    plan = looks(counts[-1], whole=len(counts) == 1)
    look = next((one for one in plan if one.images == n), None)
    if look is not None and interval is not None:
        found = own.interval(look.alpha)
        if max(abs(found.low - interval[0]), abs(found.high - interval[1])) > 1e-6:
            faults.append("drop_interval is not that of these images")
    return faults


def _accuracy_faults(
    report: AuditedReport, pair: tuple[Predictions, Predictions], seed: int, allowed: int
) -> list[str]:
    """Where the checkpoints answer otherwise than is told."""
    n, total = report["images"], len(pair[0].labels)
    if n > total:
        return [f"{n} images are told, and there are {total}"]
    seen = order(total, seed)[:n] if len(report.get("looks", [n])) > 1 else np.arange(n)
    answers = [one.logits.argmax(1)[seen] for one in pair]
    right = [some == one.labels[seen] for some, one in zip(answers, pair, strict=True)]
    same = float((answers[0] == answers[1]).mean())
    own = {
        "top1_float": float(right[0].mean()),
        "top1_int8": float(right[1].mean()),
        "agreement": same,
    }
    return [
        f"{key} is {told:.4f}, and {own[key]:.4f} here; {allowed} images are close"
        for key in own
        if (told := report.get(key)) is not None and abs(float(told) - own[key]) * n > allowed + 0.5  # type: ignore[arg-type]
    ]


class Answered:
    """A run's checkpoints and what they answer, each asked once.

    Args:
        run: of them.
        context: the data that is given, and reporting.

    Attributes:
        checkpoints: those that were read, by stage.
        data: the run's validation images; looked for by `find_data`.
    """

    def __init__(self, run: Recorded, context: TaskContext) -> None:
        self._run, self._context = run, context
        self.checkpoints: dict[str, Checkpoint] = {}
        self.data = DataAtHand(None, "the first checkpoint cannot be read here")
        self._answers: dict[str, tuple[Predictions | None, str]] = {}

    @property
    def stages(self) -> list[str]:
        """Those that write a checkpoint, in their order."""
        return [name for name in sorted(self._run.records) if not name.startswith(EXPORT)]

    def find_data(self, remembered: str | None) -> DataAtHand:
        """Look for the data that the run was made with."""
        self.data = self._run.data(self._context, remembered)
        return self.data

    def of(self, stage: str) -> tuple[Predictions | None, str]:
        """What a stage's checkpoint answers to all validation images; or why that is not known."""
        if stage not in self.checkpoints:
            return None, f"the checkpoint of {stage} cannot be read here"
        if stage not in self._answers:
            self._context.on_step(f"asking the checkpoint of {stage}")
            found = answers_of(self._run, self.checkpoints[stage], self.data, self._context)
            self._answers[stage] = found
        return self._answers[stage]
