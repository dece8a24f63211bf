"""Where a NeuralNetwork meets its caller: shape mappings, image preprocessing, classifiers, regressors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from tests.coreml.networks import Model, check_nodes, close, normal, specify

HEIGHT, WIDTH = 4, 6


def evaluate(specification: Any) -> Evaluator:
    return Evaluator(Model(specification))


def copy(b: Any) -> None:
    """Add one layer that changes nothing, of the first generation: linear, 1 * x + 0."""
    b.add_activation("a", "LINEAR", "x", "y")


def image_network(colors: str, rank5: bool, add: Callable[[Any], Any] = copy) -> Any:
    """Build a network whose input `x` is an image of 6 x 4 pixels."""
    channels = 1 if colors.startswith("GRAY") else 3
    specification = specify(add, {"x": (channels, HEIGHT, WIDTH)}, rank5=rank5)
    image = specification.description.input[0].type.imageType
    image.width, image.height = WIDTH, HEIGHT
    image.colorSpace = image.ColorSpace.Value(colors)
    return specification


PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
CHANNELS = PIXELS.transpose(2, 0, 1).astype(np.float32)
PHOTO = Image.fromarray(PIXELS)


# Inputs and outputs


@pytest.mark.parametrize(
    ("declared", "given", "seen"),
    [
        ((4,), (4,), (1, 1, 4, 1, 1)),
        ((4, 2, 3), (4, 2, 3), (1, 1, 4, 2, 3)),
        ((4, 2, 3), (5, 2, 4, 2, 3), (5, 2, 4, 2, 3)),
        ((4,), (5, 2, 4, 1, 1), (5, 2, 4, 1, 1)),
    ],
)
def test_rank_5_mapping(declared: tuple[int, ...], given: tuple[int, ...], seen: tuple[int, ...]) -> None:
    x = normal(*given)

    found = evaluate(specify(copy, {"x": declared}, rank5=True)).predict({"x": x})["y"]

    close(found, x.reshape(seen))


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (1, 4, 2, 3)])
def test_rank_5_mapping_takes_nothing_else(shape: tuple[int, ...]) -> None:
    network = evaluate(specify(copy, {"x": (4, 2, 3)}, rank5=True))

    with pytest.raises(CoreMLError, match=r"takes the shape \(4, 2, 3\) or \(any, any, 4, 2, 3\), not"):
        network.predict({"x": np.zeros(shape)})


def test_rank_5_mapping_of_two_axes_is_refused() -> None:
    with pytest.raises(CoreMLError, match="input `x` has 2 axes; under the shape mapping RANK5"):
        evaluate(specify(copy, {"x": (4, 2)}, rank5=True))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (5, 1, 3, 2, 2)])
def test_exact_mapping(shape: tuple[int, ...]) -> None:
    x = normal(*shape)

    close(evaluate(specify(copy, {"x": shape})).predict({"x": x})["y"], x)


@pytest.mark.parametrize(
    ("declared", "given", "found"),
    [
        ((4, 2, 3), (4, 2, 3), (4, 2, 3)),  # as declared
        ((24,), (4, 2, 3), (24,)),  # as many elements
        ((4, 2, 3), (2, 1, 4, 2, 3), (2, 1, 4, 2, 3)),  # a sequence keeps its axes
    ],
)
def test_an_output_has_the_rank_that_is_declared(declared: Any, given: Any, found: tuple[int, ...]) -> None:
    specification = specify(copy, {"x": (4, 2, 3)}, rank5=True)
    specification.description.output[0].type.multiArrayType.shape.extend(declared)
    x = normal(*given)

    close(evaluate(specification).predict({"x": x})["y"], x.reshape(found))


def test_flexible_shapes() -> None:
    ranged, listed = (specify(copy, {"x": (2, 3)}) for _ in range(2))
    sizes = ranged.description.input[0].type.multiArrayType.shapeRange.sizeRanges
    sizes.add(lowerBound=1, upperBound=-1)
    sizes.add(lowerBound=3, upperBound=3)
    listed.description.input[0].type.multiArrayType.enumeratedShapes.shapes.add(shape=[5, 1])

    close(evaluate(ranged).predict({"x": np.ones((7, 3))})["y"], np.ones((7, 3)))
    close(evaluate(listed).predict({"x": np.ones((5, 1))})["y"], np.ones((5, 1)))
    close(evaluate(listed).predict({"x": np.ones((2, 3))})["y"], np.ones((2, 3)))
    with pytest.raises(CoreMLError, match=r"takes the shape \(1\.\., 3\), not \(7, 4\)"):
        evaluate(ranged).predict({"x": np.ones((7, 4))})
    with pytest.raises(CoreMLError, match=r"takes the shape \(2, 3\) or \(5, 1\), not \(5, 3\)"):
        evaluate(listed).predict({"x": np.ones((5, 3))})


def test_of_listed_shapes_the_first_is_the_default_where_none_is_declared() -> None:
    specification = specify(copy, {"x": (9,)}, rank5=True)
    array = specification.description.input[0].type.multiArrayType
    array.ClearField("shape")
    for shape in ([3], [2]):
        array.enumeratedShapes.shapes.add(shape=shape)
    network = evaluate(specification)

    assert [network.predict({"x": np.ones(n)})["y"].size for n in (2, 3)] == [2, 3]
    with pytest.raises(CoreMLError, match=r"takes the shape \(3\) or \(2\) or \(any"):
        network.predict({"x": np.ones(9)})


def test_an_array_input_without_a_shape_is_refused() -> None:
    specification = specify(copy, {"x": (9,)})
    specification.description.input[0].type.multiArrayType.ClearField("shape")

    with pytest.raises(CoreMLError, match="the array input `x` has no shape"):
        evaluate(specification)


@pytest.mark.parametrize("rank5", [True, False])
def test_the_callers_array_is_not_written_to(rank5: bool) -> None:
    network = evaluate(specify(lambda b: b.add_unary("u", "x", "y", "exp"), {"x": (3,)}, rank5=rank5))
    x = np.array([0, 1, 2], np.float32)

    network.predict({"x": x})

    close(x, [0, 1, 2])


def test_an_input_that_is_neither_image_nor_array_is_refused() -> None:
    specification = specify(copy, {"x": (1,)})
    specification.description.input[0].type.int64Type.SetInParent()

    with pytest.raises(
        CoreMLError, match="input `x` has the type int64Type; a neural network takes images and arrays"
    ):
        evaluate(specification)


# Images


@pytest.mark.parametrize(("rank5", "lead"), [(True, (1, 1)), (False, (1,))])
@pytest.mark.parametrize(("colors", "order"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])])
def test_an_image_comes_in_the_order_of_its_colors(
    colors: str, order: list[int], rank5: bool, lead: tuple[int, ...]
) -> None:
    found = evaluate(image_network(colors, rank5)).predict({"x": PHOTO})["y"]

    close(found, CHANNELS[order].reshape(*lead, 3, HEIGHT, WIDTH))


# By the specification: scale times pixel plus the bias of that color.
@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        ("RGB", np.stack([0.5 * CHANNELS[0] + 1, 0.5 * CHANNELS[1] + 2, 0.5 * CHANNELS[2] + 3])),
        ("BGR", np.stack([0.5 * CHANNELS[2] + 3, 0.5 * CHANNELS[1] + 2, 0.5 * CHANNELS[0] + 1])),
        ("GRAYSCALE", 0.5 * CHANNELS[:1] + 4),
    ],
)
@pytest.mark.parametrize("name", ["x", ""])
def test_scaler(colors: str, expected: np.ndarray, name: str) -> None:
    specification = image_network(colors, rank5=False)
    scaler = specification.neuralNetwork.preprocessing.add(featureName=name).scaler
    scaler.channelScale, scaler.redBias, scaler.greenBias, scaler.blueBias, scaler.grayBias = 0.5, 1, 2, 3, 4
    image = Image.fromarray(PIXELS[:, :, 0]) if colors == "GRAYSCALE" else PHOTO

    close(evaluate(specification).predict({"x": image})["y"], expected[None])


@pytest.mark.parametrize("rank5", [True, False])
def test_an_output_may_be_an_image(rank5: bool) -> None:
    specification = image_network("RGB", rank5)
    image = specification.description.output[0].type.imageType
    image.width, image.height, image.colorSpace = WIDTH, HEIGHT, image.BGR

    found = evaluate(specification).predict({"x": PHOTO})["y"]

    assert found.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(found)[:, :, :3], PIXELS[:, :, ::-1])
    np.testing.assert_array_equal(np.asarray(found)[:, :, 3], 255)


def test_the_callers_image_is_not_scaled_in_place() -> None:
    specification = image_network("RGB", rank5=True)
    specification.neuralNetwork.preprocessing.add().scaler.channelScale = 2
    network = evaluate(specification)

    first, second = (network.predict({"x": PHOTO})["y"] for _ in range(2))

    close(first, second)
    check_nodes(network, {"x": PHOTO})


@pytest.mark.parametrize("colors", ["RGB", "BGR"])
def test_mean_image_then_scaler(colors: str) -> None:
    specification = image_network(colors, rank5=False)
    mean = normal(3, HEIGHT, WIDTH)
    specification.neuralNetwork.preprocessing.add().meanImage.meanImage.extend(mean.ravel())
    specification.neuralNetwork.preprocessing.add().scaler.channelScale = 0.25
    seen = CHANNELS if colors == "RGB" else CHANNELS[::-1]

    close(evaluate(specification).predict({"x": PHOTO})["y"], 0.25 * (seen - mean)[None])


def test_a_mean_image_of_another_size_is_refused() -> None:
    specification = image_network("RGB", rank5=False)
    specification.neuralNetwork.preprocessing.add().meanImage.meanImage.extend([0.0] * 3)

    with pytest.raises(CoreMLError, match=r"the mean image has 3 value\(s\), an image of \[3, 4, 6\] takes 72"):
        evaluate(specification)


def test_preprocessing_of_what_is_no_image_is_refused() -> None:
    specification = specify(copy, {"x": (3,)})
    specification.neuralNetwork.preprocessing.add(featureName="x").scaler.channelScale = 1

    with pytest.raises(CoreMLError, match="preprocessing for `x`, which is no image input; the model has none"):
        evaluate(specification)


# Classifiers and regressors


def classifier(labels: list[Any], probabilities: str | None = "p", mode: str = "string") -> Any:
    """Build a classifier of a vector by softmax, with a linear layer behind that nobody reads."""

    def add(b: Any) -> None:
        b.add_softmax("s", "x", "p")
        b.add_activation("last", "LINEAR", "p", "l", params=(-1.0, 0.0))

    specification = specify(add, {"x": (3,)}, outputs=("p",), rank5=True, mode="classifier")
    network, description = specification.neuralNetworkClassifier, specification.description
    (network.stringClassLabels if mode == "string" else network.int64ClassLabels).vector.extend(labels)
    network.labelProbabilityLayerName = probabilities or ""
    description.predictedFeatureName, description.predictedProbabilitiesName = "label", "p"
    output = description.output[0].type.dictionaryType
    label = description.output.add(name="label").type
    if mode == "string":
        output.stringKeyType.SetInParent()
        label.stringType.SetInParent()
    else:
        output.int64KeyType.SetInParent()
        label.int64Type.SetInParent()
    return specification


_P = np.exp([1.0, 3.0, 2.0]) / np.exp([1.0, 3.0, 2.0]).sum()


@pytest.mark.parametrize(("labels", "mode"), [(["cat", "dog", "cow"], "string"), ([7, -1, 2**40], "int64")])
def test_a_classifier_answers_label_and_probabilities(labels: list[Any], mode: str) -> None:
    found = evaluate(classifier(labels, mode=mode)).predict({"x": [1, 3, 2]})

    assert found["label"] == labels[1]
    assert list(found["p"]) == labels
    np.testing.assert_allclose(list(found["p"].values()), _P, rtol=1e-6)


def test_without_a_name_the_last_layer_gives_the_probabilities() -> None:
    found = evaluate(classifier(["a", "b", "c"], probabilities=None)).predict({"x": [1, 3, 2]})

    np.testing.assert_allclose(list(found["p"].values()), -_P, rtol=1e-6)
    assert found["label"] == "a"


def test_a_trace_has_the_probabilities_by_their_name_in_the_file() -> None:
    found = evaluate(classifier(["a", "b", "c"])).trace({"x": [1, 3, 2]})

    assert list(found) == ["x (rank 5)", "p", "l"]
    np.testing.assert_allclose(found["p"].ravel(), _P, rtol=1e-6)


def test_another_number_of_labels_than_of_probabilities_is_refused() -> None:
    with pytest.raises(CoreMLError, match="2 class labels for 3 probabilities"):
        evaluate(classifier(["a", "b"])).predict({"x": [1, 3, 2]})


def test_a_classifier_without_labels_is_refused() -> None:
    with pytest.raises(CoreMLError, match="the classifier has no class labels"):
        evaluate(classifier([]))


def test_probabilities_that_no_layer_gives_are_refused() -> None:
    with pytest.raises(CoreMLError, match="the probabilities, `q`, are given by no layer"):
        evaluate(classifier(["a", "b", "c"], probabilities="q"))


def test_a_regressor_answers_its_array_or_number() -> None:
    array, number = (
        specify(lambda b: b.add_reduce_sum("r", "x", "y", axes=[0]), {"x": (3,)}, mode="regressor")
        for _ in range(2)
    )
    number.description.output[0].type.doubleType.SetInParent()

    close(evaluate(array).predict({"x": [1, 2, 4]})["y"], [7])
    assert evaluate(number).predict({"x": [1, 2, 4]})["y"] == 7.0
