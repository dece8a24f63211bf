"""What a file declares and its operations contradict is refused when the file is read, with both types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from parity.coreml.reading.mil_types import RULES
from parity.coreml.registry import operations
from tests.coreml import networks
from tests.coreml.image_models import image_model
from tests.coreml.programs import Builder, convert, edited

# MIL.proto's numbers.
STRING, FP16, FP32, INT32 = 2, 10, 11, 23


def network(x: Any) -> Any:
    weights = Builder.const(val=np.float32([[1, 2, 3], [4, 5, 6]]), name="weights")
    product = Builder.mul(x=x, y=weights, name="product")
    return Builder.softmax(x=product, axis=-1, name="answer")


MODEL = convert(network, (2, 3), passes="empty")


def named(operations: Any, name: str) -> Any:
    return next(o for o in operations if o.outputs and o.outputs[0].name == name)


def declare(name: str, number: int) -> Callable[[Any], None]:
    def change(operations: Any) -> None:
        named(operations, name).outputs[0].type.tensorType.dataType = number

    return change


def reshape_constant(operations: Any) -> None:
    named(operations, "weights").outputs[0].type.tensorType.dimensions[0].constant.size = 3


def retype_constant(operations: Any) -> None:
    """Declare floats to be whole numbers, which were cut off to them."""
    constant = named(operations, "weights")
    for kind in (constant.outputs[0].type, constant.attributes["val"].type):
        kind.tensorType.dataType = INT32


def add_constant(operations: Any) -> None:
    operations.insert(0, named(operations, "weights"))


def add_result(operations: Any) -> None:
    operations.append(named(operations, "answer"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (declare("product", FP16), r"`product` \(mul\): its result `product` is declared fp16, .* gives fp32"),
        (declare("answer", FP16), r"`answer` \(softmax\): its result `answer` is declared fp16, .* gives fp32"),
        (declare("answer", STRING), r"`answer` \(softmax\): its result `answer` is declared string, .* gives fp32"),
        (declare("answer", INT32), r"`answer` \(softmax\): its result `answer` is declared int32, .* gives fp32"),
        (declare("weights", FP16), r"`weights` \(const\): it is declared fp16 \[2, 3\], .* is fp32 \[2, 3\]"),
        (reshape_constant, r"`weights` \(const\): it is declared fp32 \[3, 3\], and its value is fp32 \[2, 3\]"),
        (retype_constant, "the constant `weights` is declared int32, and holds floats"),
        (add_constant, r"operation `weights` \(const\): the value `weights` is defined twice"),
        (add_result, r"the value `answer` is defined twice"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: Callable[[Any], None], message: str) -> None:
    Evaluator(MODEL)
    with pytest.raises(CoreMLError, match=message):
        Evaluator(edited(MODEL, change))


def labels(change: Callable[[Any], None]) -> Callable[[Any], None]:
    def edit(operations: Any) -> None:
        classify = next(o for o in operations if o.type == "classify")
        change(classify.inputs["classes"].arguments[0].value)

    return edit


def forget(classes: Any) -> None:
    del classes.immediateValue.list.values[0]


def lengthen(classes: Any) -> None:
    classes.type.listType.length.constant.size = 9


def number(classes: Any) -> None:
    classes.immediateValue.list.values[0].type.tensorType.dataType = INT32


def flatten(classes: Any) -> None:
    classes.type.tensorType.dataType = STRING


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (forget, "is declared a list of 3, and holds 2 value"),
        (lengthen, "is declared a list of 9, and holds 3 value"),
        (flatten, "is declared string, and holds a list"),
        (number, r"is declared a list of string \[\], and holds int32 \[\]"),
    ],
)
def test_a_list_of_labels_that_contradicts_itself_is_refused(change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(CoreMLError, match=message):
        Evaluator(edited(image_model(classes=("a", "b", "c")), labels(change)))


def test_a_label_is_of_the_type_of_the_labels() -> None:
    def change(operations: Any) -> None:
        next(o for o in operations if o.type == "classify").outputs[0].type.tensorType.dataType = FP32

    with pytest.raises(CoreMLError, match=r"\(classify\): its result .* is declared fp32, .* gives string"):
        Evaluator(edited(image_model(classes=("a", "b", "c")), change))


def test_a_cast_gives_what_it_is_told() -> None:
    model = convert(
        lambda x: Builder.cast(x=Builder.cast(x=x, dtype="fp16", name="half"), dtype="fp32"), (2,), passes="empty"
    )
    Evaluator(model)
    with pytest.raises(CoreMLError, match=r"`half` \(cast\): its result `half` is declared fp32, .* gives fp16"):
        Evaluator(edited(model, declare("half", FP32)))


def test_a_branch_gives_what_its_blocks_give() -> None:
    def body(x: Any) -> Any:
        pred = Builder.greater(x=Builder.reduce_sum(x=x, axes=[0], keep_dims=False), y=np.float32(0))
        return Builder.cond(
            pred=pred, _true_fn=lambda: Builder.relu(x=x), _false_fn=lambda: Builder.exp(x=x), name="chosen"
        )

    model = convert(body, (2,), passes="empty")
    Evaluator(model)

    def change(operations: Any) -> None:
        next(o for o in operations if o.type == "cond").outputs[0].type.tensorType.dataType = FP16

    with pytest.raises(CoreMLError, match=r"\(cond\): its result `.*` is declared fp16, .* gives fp32"):
        Evaluator(edited(model, change))


@pytest.mark.parametrize("kind", ["stringType", "dictionaryType"])
def test_an_output_that_is_described_as_what_it_is_not(kind: str) -> None:
    specification = MODEL.get_spec()
    getattr(specification.description.output[0].type, kind).SetInParent()
    with pytest.raises(
        CoreMLError, match=rf"the output `answer` is described as {kind}, and the program gives fp32"
    ):
        Evaluator(networks.Model(specification))


def test_a_rule_is_of_an_operation_that_there_is() -> None:
    assert set(RULES) <= set(operations())


def test_results_of_several_types_are_as_coremltools_infers_them() -> None:
    def body(x: Any) -> Any:
        values, places = Builder.topk(x=x, k=1, axis=0)
        return Builder.select(cond=Builder.greater(x=x, y=np.float32(0)), a=x, b=values), Builder.shape(x=places)

    assert Evaluator(convert(body, (3,), passes="empty"))
