"""What a file does itself: the app's part before it and behind it, and what may be said of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from conversion import ConversionError, Preprocessing
from conversion.contract import ASSUMED, RANGES, STEPS, WHOLE, Contract, parse_inside, state, with_statistics
from conversion.provenance import Provenance

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
NORMALISED = Contract((), mean=MEAN, std=STD)


def test_what_is_inside_is_left_alone() -> None:
    filled = WHOLE.fill(PIXELS)

    assert filled.dtype == np.float32
    assert (filled == PIXELS.transpose(0, 3, 1, 2)).all()
    assert WHOLE.finish(np.array([[3.0, -1.0]])).tolist() == [[3.0, -1.0]]


def test_the_app_normalises_as_torchvision_does() -> None:
    import torch
    from torchvision.transforms import functional

    planes = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    expected = functional.normalize(planes, list(MEAN), list(STD)).numpy()

    np.testing.assert_allclose(NORMALISED.fill(PIXELS), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("numbers", "least", "most"), [("0..255", 0, 255), ("0..1", 0, 1), ("-1..1", -1, 1)])
def test_a_range_ends_where_it_says(numbers: str, least: float, most: float) -> None:
    ends = np.array([[[[0, 0, 0], [255, 255, 255]]]], np.uint8)
    filled = state(["normalise", "softmax"], numbers).fill(ends)

    assert filled.min() == least
    assert filled.max() == most


def test_softmax_behind_the_file_is_the_usual_one() -> None:
    logits = np.random.default_rng(1).normal(0, 30, (5, 9))

    np.testing.assert_allclose(Contract(()).finish(logits), softmax(logits, axis=1), atol=1e-15)


def test_logits_that_are_not_finite_stay_so() -> None:
    assert not np.isfinite(Contract(()).finish(np.array([[np.nan, 1.0], [np.inf, 0.0]]))).all()


contracts = st.sampled_from([*(Contract(STEPS, numbers) for numbers in RANGES), NORMALISED])
triples = st.tuples(*(3 * [st.floats(-4, 4, allow_subnormal=False)]))


@given(contracts, triples, triples, st.integers(0, 255))
def test_scale_and_bias_of_pixels_are_the_same_of_what_goes_in(
    contract: Contract, scale: tuple[float, ...], bias: tuple[float, ...], pixel: int
) -> None:
    factors, offsets = contract.affine()
    fed = [factor * pixel + offset for factor, offset in zip(factors, offsets, strict=True)]
    scales, biases = contract.of_input(scale, bias)

    expected = [s * pixel + b for s, b in zip(scale, bias, strict=True)]
    same = [s * x + b for s, x, b in zip(scales, fed, biases, strict=True)]
    # The largest numbers on the way are 4 * 255 / 0.2 or so.
    np.testing.assert_allclose(same, expected, atol=1e-9)


def test_what_is_said_is_kept() -> None:
    assert state(["normalize"]).inside == ("normalise",)
    assert state([]).inside == ()
    assert state(layout="nhwc") == Contract(layout="NHWC", source="assumed")
    assert state() == ASSUMED
    assert state(numbers="0..1").source == "stated"
    assert state(mean=MEAN, std=STD) == Contract(("softmax",), mean=MEAN, std=STD)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"inside": ["normalis"]},
            "inside: `normalis` is none of normalise, softmax, labels; did you mean normalise?",
        ),
        ({"numbers": "0-255"}, "range: `0-255` is none of 0..255, 0..1, -1..1; did you mean 0..255?"),
        ({"layout": "NWHC"}, "layout: `NWHC` is none of NCHW, NHWC; did you mean"),
        ({"inside": ["softmax"], "numbers": "0..1"}, "range 0..1 is of a file that normalises itself"),
        ({"mean": MEAN}, "mean and std go together"),
        ({"inside": ["normalise"], "mean": MEAN, "std": STD}, "leave out either them or `normalise`"),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, object], told: str) -> None:
    with pytest.raises(ConversionError) as raised:
        state(**said)  # type: ignore[arg-type]

    assert told in str(raised.value)


def test_steps_of_a_command_are_words() -> None:
    assert parse_inside("normalise, softmax") == ("normalise", "softmax")
    assert parse_inside("none") == parse_inside("") == ()


def test_what_the_app_normalises_by_comes_from_the_model() -> None:
    preprocessing = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    assert with_statistics(Contract(()), preprocessing).mean == (0.5, 0.5, 0.5)
    assert with_statistics(NORMALISED, preprocessing) == NORMALISED
    assert with_statistics(WHOLE, preprocessing) == WHOLE
    with pytest.raises(ConversionError, match="nobody says by which mean and std"):
        Contract(()).fill(PIXELS)


def test_provenance_says_what_is_inside() -> None:
    written = Provenance("m", "onnx", "0", inside=("softmax",))
    older = Provenance("m", "onnx", "0").to_json().replace('"inside": ["normalise", "softmax", "labels"], ', "")

    assert Provenance.from_json(written.to_json()) == written
    assert written.contract == Contract(("softmax",))
    assert "inside" not in older
    read = Provenance.from_json(older)
    assert read is not None
    assert read.contract == WHOLE
    assert Provenance.from_json(written.to_json().replace('["softmax"]', '["nonsense"]')) is None
