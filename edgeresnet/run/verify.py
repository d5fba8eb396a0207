"""An audit by a third party: every claim of a bundle or of a run, recomputed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeresnet.api.opening import readable
from edgeresnet.api.verify import Asked, verify_bundle
from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.device.machine.environment import environment
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from edgeresnet.results.audit import Claim, ClaimsOf, VerifyResults, audit_results
from edgeresnet.run.audit_bundles import bundle_claims
from edgeresnet.run.audit_results import results_claims
from edgeresnet.run.audit_stages import (
    Answered,
    loaded,
    record_claims,
    report_claims,
    top1_claim,
)
from edgeresnet.run.folder import RECORDS, networks_in
from edgeresnet.run.recorded import EXPORT, QUANTIZE, TRAIN, DataAtHand, Recorded
from edgeresnet.run.report_page import RESULTS
from edgeresnet.settings.measuring import RunOptions


def verify(
    path: str | Path,
    *,
    device: str | None = None,
    options: RunOptions | None = None,
    strict: bool = False,
    context: TaskContext | None = None,
) -> VerifyResults:
    """Recompute every claim that a bundle or a run makes.

    What cannot be checked (its data is not at hand, its device is not here) is said, and no
    failure, but with ``strict``.

    Args:
        path: folder of a bundle, or of a run.
        device: where bundles run; None: where each target usually does.
        options: how they run; ``trust`` is the key of a bundle's signer.
        strict: a claim that is not checked is a failure.
        context: data (else what was remembered, where it is known again) and reporting.

    Raises:
        InputError: there is neither a bundle nor a run; or the data that was given is of another
            kind.
    """
    path, context = Path(path), context or TaskContext()
    asked = Asked(device, options or RunOptions(), context)
    with readable(path):
        if networks := networks_in(path):
            kind, claims = "run", _front_claims(networks, asked)
        elif (path / RECORDS).is_dir():
            kind, claims = "run", _run_claims(Recorded(path), asked)
        elif (path / MANIFEST).is_file():
            kind, claims = "bundle", verify_bundle(path, asked)
        else:
            raise InputError(
                f"{path} is neither a bundle nor a run"
                if path.exists()
                else f"{path} does not exist",
                f"give a folder with {MANIFEST}, or one with {RECORDS}.",
            )
    name = path.resolve().name
    return audit_results(
        "run" if kind == "run" else "bundle", name, claims, environment(), strict=strict
    )


def _front_claims(networks: Mapping[str, Path], asked: Asked) -> list[Claim]:
    """Of each network's own run; the comparison of all is of the same bundles."""
    claims = [
        replace(claim, subject=f"{arch}/{claim.subject}")
        for arch, own in networks.items()
        for claim in _run_claims(Recorded(own), asked)
    ]
    of_all = ClaimsOf(RESULTS)
    of_all.unchecked("the comparison of all", "each network's own comparison is made again instead")
    return [*claims, *of_all.claims]


def _run_claims(run: Recorded, asked: Asked) -> list[Claim]:
    """A run's claims: its stages in their order, its bundles, its results."""
    answered = Answered(run, asked.context)
    claims = [claim for stage in answered.stages for claim in _stage_claims(run, stage, answered)]
    inside = Asked(asked.device, asked.options, asked.context, in_run=True)
    for name, path in run.bundles.items():
        stage = f"{EXPORT}-{name}"
        own = ClaimsOf(name)
        record_claims(run, stage, own)
        claims += own.claims
        checkpoint = answered.checkpoints.get(run.before(stage) or TRAIN)
        same = run.same_machine()
        claims += bundle_claims(path, name, checkpoint, inside, answered.data, same_machine=same)
    results = ClaimsOf(RESULTS)
    results_claims(run, answered.data, asked, results)
    return [*claims, *results.claims]


def _stage_claims(run: Recorded, stage: str, answered: Answered) -> list[Claim]:
    """Of a stage that writes a checkpoint."""
    claims = ClaimsOf(stage)
    record_claims(run, stage, claims)
    checkpoint = loaded(run, stage, claims)
    if checkpoint is None:
        return claims.claims
    answered.checkpoints[stage] = checkpoint
    if stage == TRAIN:
        _data_claim(answered.find_data(checkpoint.data), claims)
    if not stage.startswith(QUANTIZE):
        if stage == TRAIN and run.settings(TRAIN).get("train") is None:
            claims.unchecked("top-1", "the run begins with it, and it was trained elsewhere")
        else:
            top1_claim(run, checkpoint, *answered.of(stage), claims)
        return claims.claims
    own, why = answered.of(stage)
    before, reason = answered.of(run.before(stage) or TRAIN)
    pair = None if own is None or before is None else (before, own)
    report_claims(run, stage, checkpoint, pair, why or reason, claims)
    return claims.claims


def _data_claim(data: DataAtHand, claims: ClaimsOf) -> None:
    if data.fault is not None:
        claims.judge("data", data.fault, "")
    elif data.spec is None:
        claims.unchecked("data", data.why)
    else:
        claims.judge("data", None, f"{data.images} validation images have the record's digest")
