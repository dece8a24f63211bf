"""Every shape that a converted mobilenet says it takes gives PyTorch's answer; every other one is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from PIL import Image

from conversion import Artifact, Classifier, ConversionError, convert
from conversion.artifact import open_artifact
from conversion.shapes import Axis, InputShapes, OpenAxes, open_axes, read_input_shapes
from parity import ParityError, assert_parity, check
from parity.backends import backends_for, find_backend
from parity.core.noise import FP32
from parity.coreml import Evaluator
from parity.formats.feeding import InputShapeError
from parity.strategies import input_shapes, refused_shapes, run_shape
from parity.suite.models import load_classifier
from tests.conversion.classifiers import tiny as pooled
from tests.parity.tiny import pictures, tiny

ROOT = Path(__file__).parents[3]
DIGITS = sorted((ROOT / "fixtures" / "images" / "digits").glob("*.png"))

# Bounds of every kind; the digits' own size is 64 x 64.
BATCH: dict[str, Any] = {"dynamic": "batch", "bounds": (1, 6)}
RANGE: dict[str, Any] = {"dynamic": "size", "bounds": ((48, 48), (96, 128))}
RANGE_OF_TINY: dict[str, Any] = {"dynamic": "size", "bounds": ((24, 24), (48, 64))}
SIZES: dict[str, Any] = {"dynamic": "size", "sizes": [(64, 64), (48, 96), (96, 128)]}
FLEXIBLE = [
    pytest.param(route, options, id=f"{route}-{name}", marks=pytest.mark.xdist_group(f"flexible-{route}"))
    for route in ("onnx-torchscript", "mlprogram", "mlprogram-fp32", "onnx-coreml")
    for name, options in (("fixed", {}), ("batch", BATCH), ("range", RANGE), ("sizes", SIZES))
    # onnx-coreml cannot leave the batch open; fp16 once, because fp32 is judged more strictly.
    if (route, name) != ("onnx-coreml", "batch") and (route != "mlprogram" or name == "range")
]


@cache
def digits() -> Classifier:
    return load_classifier("models.py:mobilenet_v2_digits", directory=ROOT / "fixtures")


def flexible(route: str, options: dict[str, Any]) -> Artifact:
    return convert(digits(), route, ROOT / ".parity", **options)


def able(artifact: Artifact) -> list[str]:
    return [name for name in backends_for(artifact.format) if find_backend(name).why_not() is None]


# Parity on every shape


@pytest.mark.parametrize(("route", "options"), FLEXIBLE)
@settings(max_examples=3)
@given(data=st.data())
def test_parity_holds_on_every_shape_that_is_taken(route: str, options: dict[str, Any], data: Any) -> None:
    artifact = flexible(route, options)
    batch, channels, height, width = data.draw(input_shapes(artifact), label="shape")

    assert channels == 3
    # onnx.reference is slow, and tests/parity/test_parity.py asks it.
    quick = [name for name in able(artifact) if name != "onnx-reference"]
    for subject in check(digits(), artifact, DIGITS, quick, batch=batch, size=(height, width)).subjects:
        # Stretched far enough, all digits become one class: then no label proves anything (inconclusive), but the
        # distance does.
        assert subject.verdict in ("pass", "inconclusive"), subject.reason
        assert len(subject.cases) == len(DIGITS)
        assert subject.max_abs_diff is not None
        assert subject.max_abs_diff <= subject.tolerance


@pytest.mark.parametrize(("route", "options"), FLEXIBLE)
@settings(max_examples=4)
@given(data=st.data())
def test_every_runtime_refuses_every_other_shape(route: str, options: dict[str, Any], data: Any) -> None:
    artifact = flexible(route, options)
    shape = data.draw(refused_shapes(artifact), label="shape")

    for backend in able(artifact):
        with pytest.raises(InputShapeError) as refused:
            run_shape(artifact, shape, backend)
        # What would have been taken is named, whatever was wrong.
        assert str(read_input_shapes(artifact)) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_torch_export_leaves_the_same_axes_open() -> None:
    # The slowest converter once, on the smallest network: its sizes are symbols of their own kind.
    artifact = convert(pooled(), "onnx", ROOT / ".parity", **RANGE_OF_TINY)

    for batch, height, width in ((1, 24, 24), (3, 48, 64), (2, 25, 39)):
        assert_parity(check(pooled(), artifact, pictures(), ["onnxruntime"], batch=batch, size=(height, width)))


@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (1, 3, 65, 64), (3, 64, 64)])
def test_onnx_runtime_itself_refuses_what_we_refuse(shape: tuple[int, ...]) -> None:
    artifact = flexible("onnx-torchscript", {})
    session = onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])

    with pytest.raises(Exception, match=r"(?i)invalid (rank|dimensions)|got"):
        session.run(None, {"image": np.zeros(shape, np.float32)})
    with pytest.raises(InputShapeError):
        run_shape(artifact, shape)


@pytest.mark.parametrize(("width", "height"), [(47, 48), (129, 96), (128, 97), (64, 47)])
def test_the_evaluator_itself_refuses_a_picture_outside_the_range(width: int, height: int) -> None:
    evaluator = Evaluator(flexible("mlprogram", RANGE).path)

    with pytest.raises(ParityError, match="image"):
        evaluator.predict({"image": Image.new("RGB", (width, height))})


def test_a_refused_size_is_an_error_of_a_check_that_names_what_is_taken() -> None:
    run = check(digits(), flexible("mlprogram-fp32", RANGE), DIGITS, size=(47, 48))

    (subject,) = [s for s in run.subjects if s.backend == "coreml-evaluator"]
    assert subject.verdict == "error"
    assert "[1, 3, 48..96, 48..128]" in subject.reason
    assert "not [1, 3, 47, 48]" in subject.reason


# What the strategies draw


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (BATCH, {(1, 3, 64, 64), (2, 3, 64, 64), (3, 3, 64, 64), (6, 3, 64, 64)}),
        (RANGE, {(1, 3, 48, 48), (1, 3, 96, 128), (1, 3, 48, 128), (1, 3, 96, 48)}),
        (SIZES, {(1, 3, 64, 64), (1, 3, 48, 96), (1, 3, 96, 128)}),
    ],
)
def test_boundaries_are_drawn(options: dict[str, Any], expected: set[Any]) -> None:
    shapes = input_shapes(flexible("mlprogram-fp32", options))

    for shape in expected:
        assert (
            find(shapes, lambda drawn, wanted=shape: drawn == wanted, settings=settings(max_examples=20_000))
            == shape
        )


@pytest.mark.parametrize(("route", "options"), FLEXIBLE)
def test_of_every_kind_of_mistake_one_is_drawn(route: str, options: dict[str, Any]) -> None:
    shapes = refused_shapes(flexible(route, options))
    kinds = {
        "rank": lambda shape: len(shape) != 4,
        "channels": lambda shape: len(shape) == 4 and shape[1] != 3,
        "height": lambda shape: (len(shape) == 4 and shape[2] < 48) or shape[2] > 64,
    }

    for kind in kinds.values():
        assert find(shapes, kind)


@given(st.lists(st.tuples(*[st.integers(1, 9)] * 4), min_size=1), st.tuples(*[st.integers(1, 9)] * 4))
def test_a_shape_is_taken_exactly_where_an_option_holds_it(listed: list[Any], shape: Any) -> None:
    shapes = InputShapes(tuple(tuple(Axis(size, size) for size in one) for one in listed))

    assert (shape in shapes) == (shape in listed)


# The same answer, however the images come


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram", "mlprogram-fp32", "onnx-coreml"])
@settings(max_examples=3)
@given(order=st.permutations(range(4)))
def test_one_by_one_the_order_does_not_matter_and_twice_gives_the_same_bits(route: str, order: list[int]) -> None:
    artifact = flexible(route, {})
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in DIGITS[:4]])

    for backend in able(artifact):
        predict = find_backend(backend).load(artifact)
        single = [predict(picture[None]).probabilities[0] for picture in pixels]
        np.testing.assert_array_equal(predict(pixels).probabilities, single)
        np.testing.assert_array_equal(predict(pixels[order]).probabilities, np.array(single)[order])


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32"])
@settings(max_examples=4)
@given(batch=st.integers(1, 5), order=st.permutations(range(4)))
def test_a_batch_answers_what_its_images_answer_alone(route: str, batch: int, order: list[int]) -> None:
    artifact = flexible(route, BATCH)
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in DIGITS[:4]])
    for backend in able(artifact):
        single = find_backend(backend).load(artifact)(pixels).probabilities
        predict = find_backend(backend).load(artifact, batch=batch)
        # Rounding alone may differ: a batch takes other kernels, and how far apart two kernels are, the processor
        # decides. The product allows fp32 so much between two of them.
        allowed, _ = FP32[artifact.format]
        np.testing.assert_allclose(predict(pixels[order]).probabilities, single[order], rtol=0, atol=allowed)
        np.testing.assert_array_equal(predict(pixels).probabilities, predict(pixels).probabilities)


# What can be asked for


def test_the_defaults_are_what_the_documentation_says() -> None:
    preprocessing = digits().preprocessing

    assert open_axes(preprocessing, None) is None
    assert open_axes(preprocessing, "batch") == OpenAxes(batch=(1, 16))
    assert open_axes(preprocessing, "size") == OpenAxes(height=(32, 128), width=(32, 128))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dynamic": "colour"}, 'dynamic is "batch" or "size", not \'colour\''),
        ({"bounds": (1, 2)}, 'give dynamic="batch" or "size" too'),
        ({"sizes": [(64, 64)]}, 'give dynamic="batch" or "size" too'),
        ({"dynamic": "batch", "sizes": [(64, 64)]}, 'sizes go with dynamic="size"'),
        ({"dynamic": "size", "sizes": [(64, 64)], "bounds": ((1, 1), (99, 99))}, "in the place of bounds"),
        ({"dynamic": "size", "sizes": [(32, 32)]}, "without the classifier's own, (64, 64)"),
        ({"dynamic": "size", "bounds": ((65, 48), (96, 128))}, "without the classifier's own size, (64, 64)"),
        ({"dynamic": "size", "bounds": ((96, 96), (48, 48))}, "the smallest, 96, is above the largest, 48"),
        ({"dynamic": "size", "bounds": (48, 96)}, "bounds takes pairs of whole numbers above 0, not 48"),
        ({"dynamic": "size", "bounds": ((1, 1), (2, 2), (3, 3))}, "the smallest and the largest (height, width)"),
        ({"dynamic": "batch", "bounds": (0, 4)}, "whole numbers above 0"),
        ({"dynamic": "batch", "bounds": (1, True)}, "whole numbers above 0"),
        ({"dynamic": "batch", "bounds": "16"}, "whole numbers above 0"),
    ],
)
def test_what_cannot_be_asked_for_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConversionError) as refused:
        open_axes(digits().preprocessing, options.pop("dynamic", None), **options)

    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_route_that_cannot_keep_the_batch_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"onnx-coreml makes image inputs.*take mlprogram or onnx"):
        convert(tiny(), "onnx-coreml", tmp_path, dynamic="batch")


@given(st.builds(open_axes, st.just(tiny().preprocessing), st.sampled_from(["batch", "size"])))
def test_what_was_asked_for_survives_the_provenance(opened: OpenAxes) -> None:
    assert OpenAxes.from_json(opened.to_json()) == opened


@pytest.mark.parametrize("text", ["", "[]", "3", '{"batch": 3}', '{"sizes": 3}', '{"depth": [1, 2]}', "{"])
def test_what_another_tool_left_there_asks_for_nothing(text: str) -> None:
    assert OpenAxes.from_json(text) == OpenAxes()


def test_a_file_without_provenance_is_read_too(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(flexible("onnx-torchscript", RANGE).path))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "foreign.onnx"))

    found = read_input_shapes(open_artifact(tmp_path / "foreign.onnx"))

    assert str(found) == "[1 or more, 3, 1 or more, 1 or more]"
