from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conversion import Classifier
from conversion.classifier import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from conversion.errors import ConversionError
from conversion.guards.torchvision_guard import torchvision
from conversion.images import load_image
from conversion.sources.transform_check import OwnTransform, difference, difference_told
from conversion.sources.transforms import preprocessing_of

torchvision()
from torchvision.transforms import InterpolationMode, v2  # noqa: E402
from torchvision.transforms import transforms as v1  # noqa: E402

PHOTOS = sorted((Path(__file__).parents[3] / "fixtures/images/photos").glob("*.jpg"))
BICUBIC = InterpolationMode.BICUBIC
NORMALISE = v1.Normalize(IMAGENET_MEAN, IMAGENET_STD)
FLOATS = v2.ToDtype(torch.float32, scale=True)

# Each with what it means, typed in.
UNDERSTOOD: dict[str, tuple[Any, Preprocessing]] = {
    "v1": (
        v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor(), NORMALISE]),
        Preprocessing(size=(224, 224), resize=256),
    ),
    "v2": (
        v2.Compose([v2.Resize([232], BICUBIC), v2.CenterCrop([224]), v2.ToImage(), FLOATS, NORMALISE]),
        Preprocessing(size=(224, 224), resize=232, interpolation="bicubic"),
    ),
    "stretched, without a mean": (
        v1.Compose([v1.Resize((96, 128), InterpolationMode.LANCZOS), v1.ToTensor()]),
        Preprocessing(size=(96, 128), resize=(96, 128), mean=(0,) * 3, std=(1,) * 3, interpolation="lanczos"),
    ),
    "stretched, then cropped": (
        v2.Compose([v2.Resize((100, 120)), v2.CenterCrop((90, 111)), v2.PILToTensor(), FLOATS]),
        Preprocessing(size=(90, 111), resize=(100, 120), mean=(0,) * 3, std=(1,) * 3),
    ),
    "one mean, the tensors of v1": (
        v1.Compose(
            [
                v1.Resize(64),
                v1.CenterCrop(60),
                v1.PILToTensor(),
                v1.ConvertImageDtype(torch.float32),
                v1.Normalize([0.5], [0.25]),
            ]
        ),
        Preprocessing(size=(60, 60), resize=64, mean=(0.5,) * 3, std=(0.25,) * 3),
    ),
    "numbers 0..255": (
        v2.Compose(
            [
                v2.Resize(64),
                v2.CenterCrop(60),
                v2.ToImage(),
                v2.ToDtype(torch.float32),
                v2.Normalize([51.0] * 3, [127.5] * 3),
            ]
        ),
        Preprocessing(size=(60, 60), resize=64, mean=(0.2,) * 3, std=(0.5,) * 3),
    ),
    "bytes as floats": (
        v2.Compose([v2.Resize((60, 60)), v2.ToImage(), v2.ToDtype(torch.float32)]),
        Preprocessing(size=(60, 60), resize=(60, 60), mean=(0,) * 3, std=(1 / 255,) * 3),
    ),
    "the crop last, where nothing is padded": (
        v1.Compose([v1.Resize(64), v1.ToTensor(), NORMALISE, v1.CenterCrop(60)]),
        Preprocessing(size=(60, 60), resize=64),
    ),
    "a padding crop of a tensor": (
        v1.Compose([v1.Resize(64), v1.ToTensor(), v1.CenterCrop(91), NORMALISE]),
        Preprocessing(size=(91, 91), resize=64),
    ),
    "no resize": (
        v1.Compose([v1.CenterCrop((300, 777)), v1.ToTensor(), NORMALISE]),
        Preprocessing(size=(300, 777), resize=None),
    ),
    "nested, with what changes nothing": (
        v2.Compose(
            [
                v2.RGB(),
                v1.Compose([v2.Resize(40, InterpolationMode.NEAREST_EXACT)]),
                torch.nn.Sequential(v2.CenterCrop(32)),
                v2.Identity(),
                v2.ToImage(),
                FLOATS,
                v2.ToPureTensor(),
                torch.nn.Identity(),
                NORMALISE,
            ]
        ),
        Preprocessing(size=(32, 32), resize=40, interpolation="nearest"),
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_transform_is_read_and_gives_the_same_pixels(name: str) -> None:
    transform, expected = UNDERSTOOD[name]
    preprocessing = preprocessing_of(transform)
    assert preprocessing.std == pytest.approx(expected.std)
    assert preprocessing.mean == pytest.approx(expected.mean)
    assert (preprocessing.size, preprocessing.resize) == (expected.size, expected.resize)
    assert (preprocessing.interpolation, preprocessing.crop_rounding) == (expected.interpolation, "even")
    assert len(PHOTOS) >= 8
    for photo in PHOTOS:
        assert difference(preprocessing, transform, load_image(photo)) < 0.01


@pytest.mark.parametrize("name", ["efficientnet_b1", "vit_h_14", "mobilenet_v3_large"])
def test_the_preset_of_a_models_weights_is_read(name: str) -> None:
    preset = torchvision().models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = preprocessing_of(preset)
    assert preprocessing.size == (preset.crop_size[0],) * 2
    for photo in PHOTOS[:2]:
        assert difference(preprocessing, preset, load_image(photo)) < 0.01


CROP_FIRST = [v1.CenterCrop(32), v1.Resize(32), v1.ToTensor()]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            [v1.RandomResizedCrop(224), v1.ToTensor()],
            "step 1 of 2, RandomResizedCrop, .*: known are Resize, CenterCrop",
        ),
        ([v1.Resize(32), v1.Lambda(lambda x: x), v1.ToTensor()], "step 2 of 3, Lambda, "),
        (
            [v2.ToImage(), v2.Resize(32)],
            "step 2 of 2, Resize, .*: a tensor is resized to other pixels than a picture",
        ),
        ([v1.ToTensor(), v1.Resize((32, 32))], "step 2 of 2, Resize, .*put Resize before ToTensor or ToImage"),
        (CROP_FIRST, "step 2 of 3, Resize, .*: it resizes what was resized or cropped before"),
        (
            [v1.Resize(40), v1.CenterCrop(32), v1.CenterCrop(30)],
            "step 3 of 3, CenterCrop, .*: it crops what was cropped",
        ),
        (
            [v1.Resize(32, InterpolationMode.BOX), v1.ToTensor()],
            "step 1 of 2, Resize, .*: interpolation box; nearest, ",
        ),
        ([v1.Resize(32, max_size=40), v1.ToTensor()], "step 1 of 2, Resize, .*: max_size limits the longer side"),
        (
            [v1.Resize(32), v1.ToTensor(), NORMALISE, v1.CenterCrop(40)],
            "step 4 of 4, CenterCrop, .*: it pads a smaller",
        ),
        ([v1.ToTensor(), NORMALISE, v1.CenterCrop(40)], "step 3 of 3, CenterCrop, .*: it pads a smaller"),
        ([v1.ToTensor(), NORMALISE, NORMALISE], "step 3 of 3, Normalize, .*: it normalises what is normalised"),
        ([NORMALISE], "step 1 of 1, Normalize, .*: it takes floats"),
        ([v1.PILToTensor(), NORMALISE], "step 2 of 2, Normalize, .*: it takes floats"),
        ([v2.ToImage(), v1.ToTensor()], "step 2 of 2, ToTensor, .*: it takes a picture, and this is a tensor"),
        ([v2.ToImage(), v2.ToDtype(torch.float16, scale=True)], "step 2 of 2, ToDtype, .*: dtype torch.float16"),
        ([v2.ToDtype(torch.float32, scale=True)], "step 1 of 1, ToDtype, .*: it leaves a picture as it is"),
        ([v1.Resize((32, 32))], "transform of 1 steps: it gives a picture, not floats; end it with ToTensor"),
        ([v1.Resize((32, 32)), v1.PILToTensor()], "transform of 2 steps: it gives a tensor of bytes, not floats"),
        (
            [v1.Resize(32), v1.ToTensor()],
            "transform of 2 steps: it gives images of different sizes; add CenterCrop",
        ),
    ],
)
def test_what_cannot_be_described_is_refused_by_name_and_place(steps: list[Any], told: str) -> None:
    with pytest.raises(ConversionError) as caught:
        preprocessing_of(v1.Compose(steps))
    assert re.search(told, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_step_of_the_users_is_not_taken_for_torchvisions() -> None:
    class Resize(v1.Resize):
        pass

    with pytest.raises(ConversionError, match="step 1 of 2, Resize, .*of torchvision"):
        preprocessing_of(v1.Compose([Resize((32, 32)), v1.ToTensor()]))
    with pytest.raises(ConversionError, match="step 1 of 1, function, "):
        preprocessing_of(lambda picture: picture)


def test_a_refused_order_would_give_other_pixels() -> None:
    """Why a tensor's resize is refused: its pixels are not those of the picture's resize."""
    ours = Preprocessing(size=(60, 60), resize=(60, 60), mean=(0,) * 3, std=(1,) * 3)
    late = v1.Compose([v1.ToTensor(), v1.Resize((60, 60), antialias=True)])
    assert difference(ours, late, load_image(PHOTOS[0])) > 0.1


@given(
    picture=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    resize=st.one_of(st.integers(1, 40), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.none()),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    place=st.integers(0, 2),
    filter_=st.sampled_from(["bilinear", "bicubic", "nearest", "lanczos"]),
)
@settings(max_examples=80, deadline=None)
def test_every_order_that_is_understood_gives_the_same_pixels(
    picture: tuple[int, int], resize: Any, crop: tuple[int, int], place: int, filter_: str
) -> None:
    steps: list[Any] = [v1.ToTensor(), v1.Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])]
    steps.insert(place, v1.CenterCrop(crop))
    if resize is not None:
        steps.insert(0, v1.Resize(resize, InterpolationMode(filter_)))
    transform = v1.Compose(steps)
    try:
        preprocessing = preprocessing_of(transform)
    except ConversionError:
        assert place == 2  # a crop after Normalize that may have to pad
        return
    image = Image.effect_noise(picture, 80).convert("RGB")
    assert difference(preprocessing, transform, image) < 0.01


# Classifier.from_module and what is said of its transform


def test_a_module_and_its_transform_are_a_classifier() -> None:
    transform = UNDERSTOOD["v1"][0]
    module = torch.nn.Flatten()
    classifier = Classifier.from_module(module, transform=transform, labels=["ant", "bee"], name="insects")
    assert (classifier.name, classifier.labels, classifier.module) == ("insects", ("ant", "bee"), module)
    assert classifier.preprocessing == Preprocessing(size=(224, 224), resize=256)
    assert difference_told(classifier, PHOTOS) == ""


def test_another_transform_is_told_with_its_distance() -> None:
    base = Classifier.from_module(torch.nn.Flatten(), UNDERSTOOD["v1"][0], ("a", "b"))
    ours = base.preprocessing

    def told(function: Any, why: str = "") -> str:
        own = OwnTransform("timm", function, why)
        return difference_told(Classifier("net", base.module, ours, base.labels, own_transform=own), PHOTOS[:1])

    def brighter(picture: Image.Image) -> torch.Tensor:
        return base.own_transform(picture) + 3 / 255 / torch.tensor(IMAGENET_STD).reshape(3, 1, 1)  # type: ignore[misc]

    assert told(base.own_transform) == ""
    assert told(brighter) == "timm's own transform gives other pixels: up to 3/255"
    assert told(lambda picture: brighter(picture)[None], "it is brighter") == (
        "timm's own transform gives other pixels: up to 3/255 (it is brighter)"
    )
    assert told(lambda picture: brighter(picture)[:, 1:]) == (
        f"timm's own transform cannot be compared on {PHOTOS[0].name} "
        "(it gives numbers of shape [3, 223, 224], and not [3, 224, 224])"
    )
    assert difference_told(Classifier("net", base.module, ours, base.labels), PHOTOS) == ""
