"""A model's interface: optional inputs, flexible shapes, images in and out, functions, damaged descriptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conversion.guards.quiet import chatter_to
from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from tests.coreml.networks import Model, specify
from tests.coreml.programs import Builder, Edited, convert, ct, evaluator, types

with chatter_to():
    from coremltools.converters.mil.mil import get_new_symbol


IMAGE = ct.proto.FeatureTypes_pb2.ImageFeatureType


def converted(
    body: Callable[..., Any], inputs: list[Any], target: str = "iOS16", dtype: Any = None, **shapes: tuple[Any, ...]
) -> Any:
    """Convert a program of named inputs, whose shapes may hold symbols, with these input types."""
    specs = [Builder.TensorSpec(shape=shape, dtype=dtype or types.fp32) for shape in shapes.values()]
    opset = getattr(ct.target, target)
    with chatter_to():
        return ct.convert(
            Builder.program(input_specs=specs, opset_version=opset)(body),
            convert_to="mlprogram",
            inputs=inputs or None,
            minimum_deployment_target=opset,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )


def relu(input_type: Any) -> Evaluator:
    """Convert `y`, the relu of the input `x`, whose height and width are open."""
    symbols = (1, 3, get_new_symbol(), get_new_symbol())
    return Evaluator(converted(lambda x: Builder.relu(x=x, name="y"), [input_type], x=symbols))


def described(model: Any, change: Callable[[Any], None]) -> Evaluator:
    """Read a coremltools model after a change to its description."""
    specification = model.get_spec()
    change(specification.description)
    return Evaluator(Edited(specification))


# Optional inputs


def test_an_optional_input_may_be_left_out() -> None:
    inputs = [
        ct.TensorType(name="x", shape=[2], default_value=np.float32([1.5, 1.5])),
        ct.TensorType(name="y", shape=[2]),
    ]
    model = Evaluator(converted(lambda x, y: Builder.add(x=x, y=y, name="z"), inputs, x=(2,), y=(2,)))

    assert model.predict({"y": np.float32([1, 2])})["z"].tolist() == [2.5, 3.5]
    assert model.predict({"x": [3, 3], "y": [1, 2]})["z"].tolist() == [4, 5]
    with pytest.raises(CoreMLError, match="the input `y` is missing; the model takes x, y"):
        model.predict({"x": [3, 3]})


def test_an_optional_input_of_a_network_without_a_default_is_zero() -> None:
    specification = specify(lambda b: b.add_elementwise("add", ["x", "h"], "y", "ADD"), {"x": (2,), "h": (2,)})
    specification.description.input[1].type.isOptional = True

    assert Evaluator(Model(specification)).predict({"x": [1, 2]})["y"].tolist() == [1, 2]


# Flexible shapes


@pytest.fixture(scope="module")
def ranged() -> Evaluator:
    height, width = (ct.RangeDim(*bounds) for bounds in ((48, 96), (48, 128)))
    shape = ct.Shape((1, 3, height, width))
    symbols = (1, 3, get_new_symbol(), get_new_symbol())
    return Evaluator(
        converted(lambda x: Builder.relu(x=x, name="y"), [ct.TensorType(name="x", shape=shape)], x=symbols)
    )


@pytest.mark.parametrize("size", [(48, 48), (96, 128), (50, 61)])
def test_a_shape_within_the_range_runs(ranged: Evaluator, size: tuple[int, int]) -> None:
    assert ranged.predict({"x": np.ones((1, 3, *size))})["y"].shape == (1, 3, *size)


@pytest.mark.parametrize("shape", [(1, 3, 47, 48), (1, 3, 97, 128), (1, 3, 48, 129), (3, 48, 48), (2, 3, 48, 48)])
def test_a_shape_outside_the_range_is_refused(ranged: Evaluator, shape: tuple[int, ...]) -> None:
    with pytest.raises(CoreMLError, match=r"input `x` takes the shape \(1, 3, 48\.\.96, 48\.\.128\), not \("):
        ranged.predict({"x": np.ones(shape)})


def test_images_of_a_range() -> None:
    shape = ct.Shape((1, 3, ct.RangeDim(48, 96), ct.RangeDim(48, 128)))
    model = relu(ct.ImageType(name="x", shape=shape))

    assert model.predict({"x": Image.new("RGB", (128, 96))})["y"].shape == (1, 3, 96, 128)
    for size in ((129, 96), (128, 97), (47, 48)):
        with pytest.raises(CoreMLError, match=r"takes images of 48\.\.128 x 48\.\.96 \(width x height\), not"):
            model.predict({"x": Image.new("RGB", size)})


def test_shapes_of_a_list() -> None:
    shapes = ct.EnumeratedShapes([(1, 3, 4, 6), (1, 3, 6, 4)])
    symbols = (1, 3, get_new_symbol(), get_new_symbol())
    arrays = Evaluator(
        converted(lambda x: Builder.relu(x=x, name="y"), [ct.TensorType(name="x", shape=shapes)], x=symbols)
    )
    images = Evaluator(
        converted(lambda x: Builder.relu(x=x, name="y"), [ct.ImageType(name="x", shape=shapes)], x=symbols)
    )

    for height, width in ((4, 6), (6, 4)):
        assert arrays.predict({"x": np.ones((1, 3, height, width))})["y"].shape == (1, 3, height, width)
        assert images.predict({"x": Image.new("RGB", (width, height))})["y"].shape == (1, 3, height, width)
    with pytest.raises(CoreMLError, match=r"takes the shape \(1, 3, 4, 6\) or \(1, 3, 6, 4\), not \(1, 3, 4, 4\)"):
        arrays.predict({"x": np.ones((1, 3, 4, 4))})
    with pytest.raises(CoreMLError, match=r"takes images of 6 x 4 or 4 x 6 \(width x height\), not 4 x 4"):
        images.predict({"x": Image.new("RGB", (4, 4))})


# Images out


@pytest.mark.parametrize("program", [True, False])
@pytest.mark.parametrize(("space", "mode"), [("RGB", "RGBA"), ("BGR", "RGBA"), ("GRAYSCALE", "L")])
def test_an_image_goes_in_and_comes_out(space: str, mode: str, program: bool) -> None:
    shape = (1, 1 if mode == "L" else 3, 4, 6)

    def change(description: Any) -> None:
        for feature in (description.input[0], description.output[0]):
            feature.type.imageType.CopyFrom(IMAGE(width=6, height=4, colorSpace=getattr(IMAGE, space)))

    if program:
        model = described(convert(lambda x: Builder.relu(x=x, name="y"), shape), change)
    else:
        specification = specify(lambda b: b.add_activation("a", "RELU", "x", "y"), {"x": shape})
        specification.neuralNetwork.imageInputShapeMapping = 1
        change(specification.description)
        model = Evaluator(Model(specification))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, shape[1]), dtype=np.uint8).squeeze()

    found = model.predict({"x": Image.fromarray(pixels)})["y"]

    assert found.mode == mode
    np.testing.assert_array_equal(np.asarray(found.convert("L" if mode == "L" else "RGB")), pixels)


# Types and ranks


def test_int32_goes_in_and_comes_out() -> None:
    found = evaluator(lambda x: Builder.mul(x=x, y=np.int32(3), name="y"), np.int32([0, 0])).predict(
        {"x": [1, -2]}
    )["y"]

    assert (found.dtype, found.tolist()) == (np.int32, [3, -6])


def test_fp16_goes_in_and_comes_out_as_float32() -> None:
    model = converted(lambda x: Builder.relu(x=x, name="y"), [], dtype=types.fp16, x=(2,))
    found = Evaluator(model).predict({"x": [0.1, 70000]})["y"]

    assert model.get_spec().description.input[0].type.multiArrayType.dataType == 65552
    assert (found.dtype, found.tolist()) == (np.float32, [float(np.float16(0.1)), np.inf])


def test_a_result_without_axes_has_one() -> None:
    model = evaluator(lambda x: Builder.reduce_sum(x=x, axes=[0], keep_dims=False, name="y"), (3,))

    assert model.predict({"x": [1, 2, 4]})["y"].tolist() == [7]
    assert model.trace({"x": [1, 2, 4]})["y"].shape == ()


def test_a_list_gives_a_list_and_an_empty_one_nothing(ranged: Evaluator) -> None:
    one, two = np.full((1, 3, 48, 48), 1.0), np.full((1, 3, 60, 48), 2.0)

    found = ranged.predict([{"x": one}, {"x": two}])

    assert [(answer["y"].shape[2], answer["y"].max()) for answer in found] == [(48, 1), (60, 2)]
    assert ranged.predict([]) == []


@pytest.mark.parametrize("inputs", [None, np.ones(3), "x", [1, 2]])
def test_what_is_no_dictionary_is_refused(ranged: Evaluator, inputs: Any) -> None:
    with pytest.raises(CoreMLError, match="inputs are a dictionary by name, or a list of those; not a "):
        ranged.predict(inputs)


# Functions


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a package with the functions `double`, of x, and `half`, of y; the first is the default."""
    directory = tmp_path_factory.mktemp("functions")
    weights = np.arange(24, dtype=np.float32)
    with chatter_to():
        descriptor = ct.utils.MultiFunctionDescriptor()
        for name, parameter, scale in (("double", "x", 2.0), ("half", "y", 0.5)):
            inputs = [ct.TensorType(name=parameter, shape=(24,))]

            def body(v: Any, scale: float = scale) -> Any:
                return Builder.mul(x=Builder.add(x=v, y=weights), y=np.float32(scale), name="out")

            named = (lambda x: body(x)) if parameter == "x" else (lambda y: body(y))
            model = converted(named, inputs, target="iOS18", **{parameter: (24,)})
            model.save(str(directory / f"{name}.mlpackage"))
            descriptor.add_function(str(directory / f"{name}.mlpackage"), "main", name)
        descriptor.default_function_name = "double"
        ct.utils.save_multifunction(descriptor, str(directory / "both.mlpackage"))
    return directory / "both.mlpackage"


def test_the_default_function_and_one_by_name(functions: Path) -> None:
    x = np.ones(24, np.float32)

    assert Evaluator(functions).predict({"x": x})["out"].tolist() == [2 * (1 + n) for n in range(24)]
    assert Evaluator(functions, "half").predict({"y": x})["out"].tolist() == [(1 + n) / 2 for n in range(24)]


def test_a_function_that_the_file_lacks_is_refused(functions: Path) -> None:
    with pytest.raises(CoreMLError, match=r"both\.mlpackage: no function `third`; the file has double, half"):
        Evaluator(functions, "third")


def test_a_network_has_no_functions() -> None:
    specification = specify(lambda b: b.add_activation("a", "RELU", "x", "y"), {"x": (2,)})

    with pytest.raises(CoreMLError, match="no function `main`; a neural network has none"):
        Evaluator(Model(specification), "main")


# Damaged descriptions


@pytest.fixture(scope="module")
def adder() -> Any:
    return convert(lambda x, y: Builder.add(x=x, y=y, name="z"), (2,), (2,))


def rename_input(description: Any) -> None:
    description.input[0].name = "other"


def drop_input(description: Any) -> None:
    del description.input[0]


def repeat_input(description: Any) -> None:
    description.input.add().CopyFrom(description.input[0])


def rename_output(description: Any) -> None:
    description.output[0].name = "other"


def reshape_input(description: Any) -> None:
    description.input[0].type.multiArrayType.shape[0] = 3


def widen_input(description: Any) -> None:
    description.input[0].type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=2, upperBound=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_input, "the input `other` stands only in the description or only in the program"),
        (drop_input, "the input `x` stands only"),
        (repeat_input, "the input `x` stands only in the description or only in the program, or twice"),
        (rename_output, "the output `other` is described, but the program gives z"),
        (reshape_input, r"the input `x` has the shape \(3\) in the description and \(2\) in the program"),
        (widen_input, r"the input `x` has the shape \(2\.\.3\) in the description and \(2\) in the program"),
    ],
)
def test_a_description_of_something_else_is_refused(
    adder: Any, change: Callable[[Any], None], message: str
) -> None:
    with pytest.raises(CoreMLError, match=message):
        described(adder, change)


def test_a_newer_specification_is_refused(adder: Any) -> None:
    specification = adder.get_spec()
    specification.specificationVersion = 11

    with pytest.raises(CoreMLError, match="specification version 11; the evaluator reads versions up to 10"):
        Evaluator(Edited(specification))


def test_a_model_without_an_output_is_refused(adder: Any) -> None:
    specification = adder.get_spec()
    del specification.description.output[:]

    with pytest.raises(CoreMLError, match="the file describes no output"):
        Evaluator(Edited(specification))


@pytest.mark.parametrize("version", [0, -1, -(2**31)])
def test_a_specification_version_that_never_was_is_refused(adder: Any, version: int) -> None:
    specification = adder.get_spec()
    specification.specificationVersion = version

    with pytest.raises(
        CoreMLError, match=f"the field specificationVersion is {version}; a model has one from 1 to 10"
    ):
        Evaluator(Edited(specification))
