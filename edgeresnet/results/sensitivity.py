"""What quantizing each layer costs, as types of the JSON contract."""

from __future__ import annotations

from typing_extensions import TypedDict


class LayerSensitivity(TypedDict):
    """A layer of `SensitivityResults`: quantized alone (``only``), and alone in float (``rest``).

    ``kl`` is the divergence of the float network's probabilities, in nats; a change of top-1 is
    None without labels, and the ratio where the layer's output has no noise. Of a network without a
    classifier ``kl`` is None, ``cosine`` the mean with the float network's embeddings (else None),
    and answers are nearest neighbours.
    """

    name: str
    sqnr_db: float | None
    kl_only: float | None
    cosine_only: float | None
    top1_change_only: float | None
    agreement_only: float
    kl_rest: float | None
    cosine_rest: float | None
    top1_change_rest: float | None
    agreement_rest: float


class SensitivityResults(TypedDict):
    """``inspect --sensitivity``: all is against the network without its quantizers."""

    images: int
    data: str
    calibration_images: int | None
    weight_bits: int
    top1_float: float | None
    top1_change: float | None
    agreement: float
    kl: float | None
    cosine: float | None
    layers: list[LayerSensitivity]
