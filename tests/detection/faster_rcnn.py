"""A small Faster R-CNN on a checkpoint's backbone, and on what a bundle gives in its place."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from edgeresnet.device.targets.outputs import GivesOutputs
from edgeresnet.host.models.checkpoint import Checkpoint
from tests.detection.scenes import SIDE, Scene

CLASSES = 11
PYRAMID = 48
# One size a level: those of garments on C2 and C3, and what the deeper levels are given anyway.
ANCHORS = ((24,), (36,), (48,), (64,), (96,))
BATCH = 8


class BundleLevels(nn.Module):
    """What a bundle's levels give, where a detector has its backbone.

    Args:
        session: of a bundle with the levels among its outputs.
        levels: their names, in order.
    """

    def __init__(self, session: GivesOutputs, levels: Sequence[str]) -> None:
        super().__init__()
        self.session, self.levels = session, levels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(N, 3, H, W) float32, normalized, to each level, named by its number."""
        found = self.session.outputs(images.numpy())
        return OrderedDict((str(i), torch.from_numpy(found[n])) for i, n in enumerate(self.levels))


def detector_on(checkpoint: Checkpoint) -> FasterRCNN:
    """A float checkpoint's levels under a feature pyramid and Faster R-CNN's heads."""
    backbone = checkpoint.backbone()
    pyramid = BackboneWithFPN(backbone, backbone.return_layers, backbone.in_channels_list, PYRAMID)
    spec = checkpoint.input_spec
    return FasterRCNN(
        pyramid,
        min_size=SIDE,
        max_size=SIDE,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        rpn_anchor_generator=AnchorGenerator(ANCHORS, ((0.5, 1.0, 2.0),) * len(ANCHORS)),
        rpn_pre_nms_top_n_train=400,
        rpn_pre_nms_top_n_test=400,
        rpn_post_nms_top_n_train=150,
        rpn_post_nms_top_n_test=100,
        rpn_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 5, 2),
        box_head=TwoMLPHead(PYRAMID * 25, 128),
        box_predictor=FastRCNNPredictor(128, CLASSES),
        box_batch_size_per_image=64,
        box_score_thresh=0.02,
        box_detections_per_img=20,
    )


def on_narrower(checkpoint: Checkpoint, wide: FasterRCNN) -> FasterRCNN:
    """A trained detector's pyramid and heads on levels of fewer channels.

    What reads these levels begins anew where their channels are others.
    """
    detector = detector_on(checkpoint)
    own = detector.state_dict()
    kept = {
        name: tensor
        for name, tensor in wide.state_dict().items()
        if not name.startswith("backbone.body.") and tensor.shape == own[name].shape
    }
    detector.load_state_dict({**own, **kept})
    return detector


def fit(
    detector: FasterRCNN,
    data: Sequence[Scene],
    *,
    epochs: int,
    seed: int = 0,
    minutes: float = math.inf,
    every: int = 0,
) -> int:
    """Train from the first layer on, normalization included, by AdamW and one cycle.

    Args:
        detector: in place; in eval mode afterwards.
        data: is seen once an epoch, in an order of its own, half of it mirrored.
        epochs: how often.
        seed: of order and mirroring.
        minutes: after so many the cycle is cut short.
        every: steps from one printed line to the next; 0: none.

    Returns:
        How many steps were done.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    steps = epochs * (len(data) // BATCH)
    optimizer = torch.optim.AdamW(detector.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.15)
    detector.train()
    start, done = time.monotonic(), 0
    for _ in range(epochs):
        order = draw.permutation(len(data))
        for first in range(0, len(data) - BATCH + 1, BATCH):
            if time.monotonic() - start > 60 * minutes:
                break
            losses = detector(*_batch([data[i] for i in order[first : first + BATCH]], draw))
            loss = sum(losses.values())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            done += 1
            if every and done % every == 0:
                spent = time.monotonic() - start
                print(f"step {done} of {steps}: {loss.item():.3f}, {spent:.0f} s", flush=True)
    detector.eval()
    return done


def _batch(
    some: Sequence[Scene], draw: np.random.Generator
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images, targets = [], []
    for scene in some:
        image, target = scene.image, scene.target
        if draw.integers(2):
            image = image.flip(2)
            left, top, right, bottom = target["boxes"].unbind(1)
            target = {**target, "boxes": torch.stack([SIDE - right, top, SIDE - left, bottom], 1)}
        images.append(image)
        targets.append(target)
    return images, targets


def detected(detector: FasterRCNN, data: Sequence[Scene]) -> list[dict[str, Tensor]]:
    """What it finds, one image at a time: a bundle has one batch size."""
    with torch.inference_mode():
        return [detector([scene.image])[0] for scene in data]
