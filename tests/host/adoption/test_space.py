from __future__ import annotations

import pytest
from PIL import Image

from edgeresnet.device.data.preprocess import to_pixels
from edgeresnet.host.adoption.space import CROPS, FIELDS, NORMALIZATIONS, Candidate, Space
from edgeresnet.settings.inputs import InputSpec

OPTIONS = {
    "weights": ("EMA", "raw"),
    "stem": ("imagenet",),
    "stride_in": ("3x3",),
    "size": (224, 32, 48, 64, 128, 192, 256),
    "crop": tuple(CROPS),
    "interpolation": ("bilinear", "bicubic"),
    "channels": ("rgb", "bgr", "gray"),
    "normalization": tuple(NORMALIZATIONS),
}
SPACE = Space(OPTIONS)


def test_first_candidate_is_what_is_assumed_where_nobody_says_anything() -> None:
    assert SPACE.spec(SPACE.first()) == InputSpec()


def test_far_candidates_are_every_combination_of_what_matters_most_the_cheapest_first() -> None:
    first, *groups = SPACE.far()
    assert first == [SPACE.first()]
    # Sizes far apart, each with weights, rgb and bgr, normalizations.
    assert [{c.size for c in group} for group in groups] == [{32}, {64}, {128}, {224}]
    assert all(len(set(group)) == 2 * 2 * 5 for group in groups)


def test_far_candidates_leave_out_what_nobody_would_train() -> None:
    stems = Space({**OPTIONS, "stem": ("imagenet", "imagenet-nopool", "imagenet-stride1-nopool")})
    places = [(group[0].stem, group[0].size) for group in stems.far()]
    assert ("imagenet-nopool", 128) in places
    assert ("imagenet-stride1-nopool", 64) in places
    assert ("imagenet-stride1-nopool", 128) not in places
    # What is assumed of another stem by its kernel is tried, however much it costs.
    assert ("imagenet-nopool", 224) in places


@pytest.mark.parametrize("name", FIELDS)
def test_near_candidates_differ_in_one_field_and_have_the_candidate_among_them(name: str) -> None:
    own = SPACE.first()
    near = SPACE.near(own, name)
    assert own in near
    assert all(
        getattr(c, other) == getattr(own, other) for c in near for other in FIELDS if other != name
    )


@pytest.mark.parametrize("size", [32, 224])
def test_near_crops_make_different_pixels(size: int) -> None:
    own = SPACE.named(Candidate("EMA", "imagenet", "3x3", size, "middle 0.95", "bilinear",
                                "rgb", "0 to 1"))  # fmt: skip
    image = Image.effect_noise((300, 200), 100).convert("RGB")
    made = [to_pixels(image, SPACE.spec(c)).tobytes() for c in SPACE.near(own, "crop")]
    assert len(set(made)) == len(made) >= 4
    # By the name that the convention has for what is the same at this size.
    usual = "squashed" if size < 128 else "middle 0.875"
    assert usual not in {c.crop for c in SPACE.near(own, "crop")}


def test_bgr_has_the_mean_of_each_colour_and_what_a_file_says_stays_in_its_order() -> None:
    own = ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    space = Space(
        {**OPTIONS, "normalization": ("said", *NORMALIZATIONS)},
        {"said": own, **NORMALIZATIONS},
        in_own_order=frozenset({"said"}),
    )
    (bgr,) = (c for c in space.near(space.first(), "channels") if c.channels == "bgr")
    assert space.spec(bgr).mean == own[0]
    named = [space.spec(c).mean for c in space.near(bgr, "normalization")]
    assert (0.406, 0.456, 0.485) in named


def test_what_else_is_known_of_the_input_stays() -> None:
    space = Space(OPTIONS, base=InputSpec(crop_rounding="down"))
    assert all(space.spec(c).crop_rounding == "down" for c in space.near(space.first(), "crop"))
