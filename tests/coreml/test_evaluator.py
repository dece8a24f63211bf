"""The evaluator from outside: images and arrays in, what MLModel.predict returns out, and every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.core.errors import CoreMLError, UnsupportedOperationsError
from parity.coreml import Evaluator
from tests.coreml.image_models import HEIGHT, WIDTH, image_model
from tests.coreml.programs import Edited, edited, evaluator

RED = Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50))


@pytest.fixture(scope="module")
def rgb() -> Evaluator:
    return Evaluator(image_model())


def test_an_rgb_image_is_read_in_rgb_order(rgb: Evaluator) -> None:
    np.testing.assert_allclose(rgb.predict({"image": RED})["means"], [[200, 100, 50]], rtol=1e-6)


def test_a_model_that_wants_bgr_gets_bgr() -> None:
    found = Evaluator(image_model("BGR")).predict({"image": RED})["means"]

    np.testing.assert_allclose(found, [[50, 100, 200]], rtol=1e-6)


def test_a_grayscale_model_gets_one_channel() -> None:
    gray = Image.new("L", (WIDTH, HEIGHT), 77)

    np.testing.assert_allclose(
        Evaluator(image_model("GRAYSCALE")).predict({"image": gray})["means"], [[77]], rtol=1e-6
    )


def test_rows_and_columns_keep_their_places() -> None:
    # One bright pixel: only its channel's mean may rise, by 240 / 24.
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.putpixel((5, 0), (0, 240, 0))

    found = Evaluator(image_model()).trace({"image": picture})
    first = next(v for v in found.values() if v.shape == (1, 3, HEIGHT, WIDTH))

    assert np.argwhere(first).tolist() == [[0, 1, 0, 5]]


def test_an_array_has_the_type_and_shape_that_the_file_declares(rgb: Evaluator) -> None:
    found = rgb.predict({"image": RED})["means"]

    assert (found.dtype, found.shape) == (np.float32, (1, 3))


@pytest.mark.parametrize("classes", [("red", "green", "blue"), (10, 20, 30)])
def test_a_classifier_answers_label_and_dictionary(classes: tuple[Any, ...]) -> None:
    found = Evaluator(image_model(classes=classes)).predict({"image": RED})
    exponents = np.exp(np.array([200, 100, 50]) / 64)
    expected = dict(zip(classes, exponents / exponents.sum(), strict=True))

    assert found["classLabel"] == classes[0]
    assert found["classLabel_probs"] == pytest.approx(expected, rel=1e-5)
    assert [type(key) for key in found["classLabel_probs"]] == [type(c) for c in classes]


def test_the_first_of_equals_is_the_label() -> None:
    grey = Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9))

    assert Evaluator(image_model(classes=("a", "b", "c"))).predict({"image": grey})["classLabel"] == "a"


def test_a_list_gives_a_list(rgb: Evaluator) -> None:
    blue = Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 255))

    found = rgb.predict([{"image": RED}, {"image": blue}])

    np.testing.assert_allclose([f["means"][0] for f in found], [[200, 100, 50], [0, 0, 255]], rtol=1e-6)


def test_fp16_rounds_every_result() -> None:
    # 201 / 64 is no fp16 number, and neither is the mean of 24 roundings of it times 64 exactly 201.
    picture = Image.new("RGB", (WIDTH, HEIGHT), (201, 0, 0))

    traced = Evaluator(image_model(precision="fp16")).trace({"image": picture})
    halves = [v for name, v in traced.items() if name.endswith("_fp16")]

    assert halves
    assert all(np.array_equal(v.astype(np.float16).astype(np.float32), v) for v in halves)


def test_trace_names_the_values_of_the_file(rgb: Evaluator) -> None:
    function = image_model().get_spec().mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    named = [op.outputs[0].name for op in block.operations if op.type != "const"]

    assert list(rgb.trace({"image": RED})) == named


def test_the_same_input_twice_gives_the_same_bits(rgb: Evaluator) -> None:
    first, second = (rgb.predict({"image": RED})["means"] for _ in range(2))

    assert first.tobytes() == second.tobytes()


def test_an_earlier_answer_is_not_overwritten_by_a_later_run(rgb: Evaluator) -> None:
    first = rgb.predict({"image": RED})["means"]
    rgb.predict({"image": Image.new("RGB", (WIDTH, HEIGHT))})

    np.testing.assert_allclose(first, [[200, 100, 50]], rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "the input `image` is missing"),
        ({"picture": RED}, "no input `picture`; the model takes image"),
        ({"image": RED.resize((WIDTH + 1, HEIGHT))}, "takes images of 6 x 4 .* not 7 x 4"),
        ({"image": np.zeros((4, 6, 3))}, "takes images .* not a ndarray"),
    ],
)
def test_a_wrong_input_is_refused(rgb: Evaluator, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(CoreMLError, match=message):
        rgb.predict(inputs)


def test_an_array_of_another_shape_is_refused() -> None:
    from coremltools.converters.mil import Builder

    model = evaluator(lambda x: Builder.relu(x=x), (2, 3))
    name = model.description.input[0].name

    with pytest.raises(CoreMLError, match=r"takes the shape \(2, 3\), not \(3, 2\)"):
        model.predict({name: np.zeros((3, 2))})


def test_a_model_without_state_makes_none(rgb: Evaluator) -> None:
    with pytest.raises(CoreMLError, match="declares no state"):
        rgb.make_state()


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(CoreMLError, match="no function `second`; the file has main"):
        Evaluator(image_model(), function_name="second")


def test_all_missing_operations_are_named_at_once() -> None:
    def strange(operations: Any) -> None:
        computed = [op for op in operations if op.type != "const"]
        computed[0].type, computed[1].type = "levitate", "teleport"

    with pytest.raises(UnsupportedOperationsError, match="levitate .*teleport") as caught:
        Evaluator(edited(image_model(), strange))

    assert set(caught.value.missing) == {"levitate", "teleport"}


def computed(operations: Any) -> list[Any]:
    return [operation for operation in operations if operation.type != "const"]


def circle(operations: Any) -> None:
    """Let the first operation read the last one's result."""
    first, last = computed(operations)[0], computed(operations)[-1]
    first.inputs["x"].arguments[0].name = last.outputs[0].name


def reshape(operations: Any) -> None:
    """Let the file declare another shape for the mean than it has."""
    next(o for o in operations if o.type == "reduce_mean").outputs[0].type.tensorType.dimensions[
        1
    ].constant.size = 7


def custom(operations: Any) -> None:
    """Make the first operation one of an app."""
    first = computed(operations)[0]
    first.type = "custom_layer"
    name = first.attributes["class_name"]
    name.type.tensorType.dataType = 2
    name.immediateValue.tensor.strings.values.append("Mine")


def retype(operations: Any) -> None:
    """Give a value a number type that there is not."""
    computed(operations)[0].outputs[0].type.tensorType.dataType = 99


def unfix(operations: Any) -> None:
    """Give a constant an unknown size."""
    const = next(o for o in operations if o.type == "const" and o.attributes["val"].type.tensorType.dimensions)
    const.attributes["val"].type.tensorType.dimensions[0].unknown.variadic = False


def empty(operations: Any) -> None:
    """Leave an argument without a name and a value."""
    computed(operations)[0].inputs["x"].arguments[0].Clear()


def untype(operations: Any) -> None:
    """Make a constant a tuple."""
    next(o for o in operations if o.type == "const").attributes["val"].type.tupleType.SetInParent()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (circle, r"operation `.*` \(mul\) reads `.*`, which nothing before gives; the file is damaged"),
        (reshape, r"\(reduce_mean\) fails: `.*` comes out as \(1, 3\), the file declares \(1, 7\)"),
        (custom, r"\(custom_layer\): its code, the class `Mine`, is part of an app"),
        (retype, "unknown number type 99"),
        (unfix, "has no fixed shape"),
        (empty, r"\(mul\) cannot be read: an argument has neither a name nor a value"),
        (untype, "`ones` is of the type tuple"),
    ],
)
def test_a_damaged_program_is_one_clear_error(change: Any, message: str) -> None:
    damaged = edited(image_model(), change)
    with pytest.raises(CoreMLError, match=message) as caught:
        Evaluator(damaged).predict({"image": RED})

    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_opset_is_refused() -> None:
    model = image_model()
    specification = model.get_spec()
    specification.mlProgram.functions["main"].opset = "CoreML99"

    with pytest.raises(CoreMLError, match="function `main` is written for the unknown opset `CoreML99`"):
        Evaluator(Edited(specification, model.weights_dir))


def test_names_of_a_damaged_file_cannot_obey_the_terminal() -> None:
    def strange(operations: Any) -> None:
        computed(operations)[0].type = "\x1b[2Jgone\nreally"

    with pytest.raises(CoreMLError, match="\N{REPLACEMENT CHARACTER}\\[2Jgone\N{REPLACEMENT CHARACTER}really"):
        Evaluator(edited(image_model(), strange))


def test_a_parameter_that_apple_does_not_define_is_refused() -> None:
    def strange(operations: Any) -> None:
        mean = next(op for op in operations if op.type == "reduce_mean")
        mean.inputs["colour"].CopyFrom(mean.inputs["axes"])

    with pytest.raises(CoreMLError, match=r"\(reduce_mean\): unknown colour; iOS15 defines x, axes, keep_dims"):
        Evaluator(edited(image_model(), strange))


def test_a_parameter_that_is_missing_is_refused() -> None:
    def strange(operations: Any) -> None:
        del next(op for op in operations if op.type == "reduce_mean").inputs["x"]

    with pytest.raises(CoreMLError, match="absent x"):
        Evaluator(edited(image_model(), strange))


def test_a_constant_that_does_not_fill_its_shape_is_refused() -> None:
    def strange(operations: Any) -> None:
        mean = next(op for op in operations if op.type == "reduce_mean")
        axes = next(
            op for op in operations if op.outputs and op.outputs[0].name == mean.inputs["axes"].arguments[0].name
        )
        del axes.attributes["val"].immediateValue.tensor.ints.values[0]

    with pytest.raises(CoreMLError, match=r"has 1 value\(s\) for the shape \[2\]"):
        Evaluator(edited(image_model(), strange))
