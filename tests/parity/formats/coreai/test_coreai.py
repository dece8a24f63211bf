"""The format coreai: what is read of a program, its values inside, and each change of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Artifact
from conversion.deployed import deployed_module, pixels_to_tensor
from parity.backends import coreai
from parity.core.errors import ParityError
from parity.formats import find_format
from parity.formats.editing import Editable, edited, open_editable
from parity.formats.facts import artifact_digest, facts
from parity.formats.graph import Graph, read_graph
from parity.formats.trace import open_trace
from tests.conversion.classifiers import LABELS, photos, tiny

Converted = Callable[[str], Artifact]
FORMAT = find_format("coreai")


@pytest.fixture
def artifact(converted: Converted) -> Artifact:
    return converted("coreai")


@pytest.fixture
def pixels() -> np.ndarray:
    picture: np.ndarray = photos(1)[0]
    return picture


def logits(image: np.ndarray) -> np.ndarray:
    """Return what the network itself answers, by PyTorch."""
    with torch.no_grad():
        return np.log(deployed_module(tiny())(pixels_to_tensor(image[None])).numpy())


def named(graph: Graph, kind: str, place: int = 0) -> str:
    return [operation.name for operation in graph.operations if operation.type == kind][place]


def answer(artifact: Artifact, image: np.ndarray) -> np.ndarray:
    return coreai.load(artifact)(image[None]).probabilities


# What is read


def test_the_graph_has_the_operations_with_their_weights(artifact: Artifact) -> None:
    graph = read_graph(artifact)
    kinds = [operation.type for operation in graph.operations]

    assert kinds[:2] == ["sub", "mul"]
    assert kinds[-1] == "softmax"
    assert graph.output == graph.operations[-1].outputs[0]
    assert kinds.count("conv2d") == 2
    first, second = (o for o in graph.operations if o.type == "conv2d")
    assert (first.attributes["stride"], first.attributes["groups"]) == ("[2, 2]", "1")
    assert second.attributes["groups"] == "8"
    assert first.weights["weight"].shape == (8, 3, 3, 3)


def test_the_head_is_pytorchs(artifact: Artifact) -> None:
    matmul = next(o for o in read_graph(artifact).operations if o.type == "batch_matmul")
    (weight,) = matmul.weights.values()

    np.testing.assert_array_equal(weight, tiny().module.head.weight.detach().numpy().T)


def test_facts_and_digest(artifact: Artifact, converted: Converted, tmp_path: Path) -> None:
    told = facts(artifact)

    assert (told.format, told.precision, told.version) == ("coreai", "fp32", "asset 2.0")
    assert told.operations["conv2d"] == 2
    again = edited(artifact, [], tmp_path)
    assert artifact_digest(again) == artifact_digest(artifact)
    assert artifact_digest(artifact) != artifact_digest(converted("coreai-fp16"))


def test_what_the_file_declares(artifact: Artifact) -> None:
    declared = FORMAT.declared_input(artifact)

    assert (declared.name, declared.type, declared.layout) == ("image", "float32", "NCHW")
    assert FORMAT.read_outputs(artifact) == ("", {"classLabelProbs": (1, 8)})
    assert FORMAT.numbered_classes(artifact) is None
    assert FORMAT.vision_told(artifact) == ""
    assert FORMAT.compressed_weights(artifact) == ()


# Its values inside


def test_a_trace_has_every_value(artifact: Artifact, pixels: np.ndarray) -> None:
    graph = read_graph(artifact)
    values = open_trace(artifact)(pixels)

    np.testing.assert_array_equal(values["image"], pixels_to_tensor(pixels[None]).numpy())
    assert {name for operation in graph.operations for name in operation.outputs} <= set(values)
    with torch.no_grad():
        normalised = (pixels_to_tensor(pixels[None]) / 255 - torch.tensor((0.2, 0.5, 0.7)).reshape(3, 1, 1)) / (
            torch.tensor((0.15, 0.3, 0.6)).reshape(3, 1, 1)
        )
        first = torch.nn.Sequential(*tiny().module.features[:3])(normalised).numpy()
    np.testing.assert_allclose(values[named(graph, "mul")], normalised.numpy(), atol=1e-5)
    assert any(value.shape == first.shape and np.allclose(value, first, atol=1e-4) for value in values.values())


def test_values_from_outside_take_the_place_of_the_files_own(artifact: Artifact, pixels: np.ndarray) -> None:
    graph = read_graph(artifact)
    inner = graph.operations[-1].inputs[0]
    given = np.arange(8, dtype=np.float32)[None] / 4

    answered = FORMAT.open_with_values(artifact, [inner])(pixels[None], {inner: given})
    traced = FORMAT.open_trace_with_values(artifact, [inner])(pixels, {inner: given})

    soft = np.exp(given) / np.exp(given).sum()
    np.testing.assert_allclose(answered.probabilities, soft, atol=1e-6)
    np.testing.assert_allclose(traced[graph.output], soft, atol=1e-6)
    np.testing.assert_array_equal(traced[inner], given)


# Changes


def change(artifact: Artifact, edit: Callable[[Editable], None], directory: Path, image: np.ndarray) -> np.ndarray:
    return answer(edited(artifact, [edit], directory), image)


def test_channels_are_swapped(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    swapped = change(artifact, lambda model: model.swap_channels(), tmp_path, pixels)

    np.testing.assert_allclose(swapped, np.exp(logits(pixels[..., ::-1])), atol=1e-5)


def test_another_normalisation(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    """The image goes past the file's own normalisation, through one that sends it to the picture of zeros."""
    graph = read_graph(artifact)
    value = graph.operations[1].outputs[0]
    readers = [operation.name for operation in graph.operations if value in operation.inputs]
    zeros = [-mean / std for mean, std in zip((0.2, 0.5, 0.7), (0.15, 0.3, 0.6), strict=True)]

    black = change(artifact, lambda m: m.replace_input(value, readers, [0.0] * 3, zeros), tmp_path, pixels)

    np.testing.assert_allclose(black, np.exp(logits(np.zeros_like(pixels))), atol=1e-5)


def test_a_weight_is_replaced(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    graph = read_graph(artifact)
    bias = [o for o in graph.operations if o.type == "add"][-1]
    (place,) = bias.weights
    numbers = np.linspace(0, 2, 8)

    moved = change(artifact, lambda model: model.set_weight(bias.name, place, numbers), tmp_path, pixels)

    own = tiny().module.head.bias.detach().numpy()
    wanted = np.exp(logits(pixels) + numbers - own)
    np.testing.assert_allclose(moved, wanted / wanted.sum(), atol=1e-5)


def test_a_weight_that_the_program_transposes_is_replaced(
    artifact: Artifact, pixels: np.ndarray, tmp_path: Path
) -> None:
    matmul = next(o for o in read_graph(artifact).operations if o.type == "batch_matmul")
    ((place, weight),) = matmul.weights.items()
    nothing = np.zeros_like(weight)

    moved = change(artifact, lambda model: model.set_weight(matmul.name, place, nothing), tmp_path, pixels)

    bias = np.exp(tiny().module.head.bias.detach().numpy())
    np.testing.assert_allclose(moved[0], bias / bias.sum(), atol=1e-5)


def test_a_setting_is_replaced(artifact: Artifact, tmp_path: Path) -> None:
    name = named(read_graph(artifact), "conv2d")

    changed = edited(artifact, [lambda model: model.set_attribute(name, "dilation", [2, 2])], tmp_path)

    assert read_graph_of(changed, name).attributes["dilation"] == "[2, 2]"


def read_graph_of(artifact: Artifact, name: str) -> Any:
    return next(operation for operation in read_graph(artifact).operations if operation.name == name)


def test_softmax_is_taken_out_and_done_twice(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    name = named(read_graph(artifact), "softmax")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    without = change(artifact, lambda model: model.bypass(name), tmp_path / "one", pixels)
    twice = change(artifact, lambda model: model.repeat(name), tmp_path / "two", pixels)

    with torch.no_grad():
        once = torch.softmax(torch.from_numpy(without), 1)
    np.testing.assert_allclose(once, np.exp(logits(pixels)), atol=1e-5)
    np.testing.assert_allclose(twice, torch.softmax(once, 1), atol=1e-5)


def test_another_value_is_given_as_the_answer(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    graph = read_graph(artifact)
    inner = graph.operations[-1].inputs[0]

    given = change(artifact, lambda model: model.set_output(graph.output, inner), tmp_path, pixels)

    np.testing.assert_allclose(given - given.max(), logits(pixels) - logits(pixels).max(), atol=1e-4)


def test_labels_are_read_and_replaced(artifact: Artifact, tmp_path: Path) -> None:
    assert open_editable(artifact).labels() == LABELS

    changed = edited(artifact, [lambda model: model.set_labels(LABELS[::-1])], tmp_path)

    assert open_editable(changed).labels() == LABELS[::-1]


def test_names_stay_when_a_copy_is_read_again(artifact: Artifact, tmp_path: Path) -> None:
    before = {operation.name for operation in read_graph(artifact).operations}

    swapped = edited(artifact, [lambda model: model.swap_channels()], tmp_path)

    assert before < {operation.name for operation in read_graph(swapped).operations}


def test_a_shape_is_baked_in(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    same = change(artifact, lambda m: m.verbs.fix_shape(m.content, (1, 3, 32, 32)), tmp_path, pixels)

    np.testing.assert_allclose(same, answer(artifact, pixels), atol=1e-6)


@pytest.mark.parametrize("verb", ["widen", "take_floats", "take_channels_first"])
def test_what_would_change_every_type_is_refused(verb: str, artifact: Artifact) -> None:
    model = open_editable(artifact)

    with pytest.raises(ParityError, match="not changed here"):
        getattr(model.verbs, verb)(model.content)


def test_what_cannot_be_taken_out_is_refused(artifact: Artifact) -> None:
    model = open_editable(artifact)

    with pytest.raises(ParityError, match="cannot stand for its result"):
        model.bypass(named(read_graph(artifact), "conv2d"))
