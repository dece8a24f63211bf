"""Copies of artefacts are changed, and only in what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conversion import Classifier
from parity.backends import find_backend
from parity.formats.editing import Editable, edited, open_editable
from parity.formats.graph import read_graph
from tests.parity.diagnosis.faulty import good, mixed, reference
from tests.parity.tiny import LABELS, tiny

ROUTES = ["onnx-torchscript", "mlprogram", "onnx-coreml"]


def answers(route: str, edits: list[Callable[[Editable], None]], directory: Path) -> np.ndarray:
    artifact = edited(good(route, tiny), edits, directory)
    backend = "onnxruntime" if artifact.format == "onnx" else "coreml-evaluator"
    return np.asarray(find_backend(backend).load(artifact)(reference(tiny).images.pixels).probabilities)


@pytest.mark.parametrize("route", ROUTES)
def test_a_copy_without_changes_answers_the_same(route: str, tmp_path: Path) -> None:
    assert np.abs(answers(route, [], tmp_path) - reference(tiny).prediction.probabilities).max() < 1e-2


@pytest.mark.parametrize("route", ROUTES)
def test_labels_are_read_and_replaced(route: str, tmp_path: Path) -> None:
    assert open_editable(good(route, tiny)).labels() == LABELS
    copy = edited(good(route, tiny), [lambda model: model.set_labels(LABELS[::-1])], tmp_path)

    assert open_editable(copy).labels() == LABELS[::-1]
    assert open_editable(good(route, tiny)).labels() == LABELS


@pytest.mark.parametrize("route", ROUTES)
def test_weights_are_replaced_for_their_reader(route: str, tmp_path: Path) -> None:
    graph = read_graph(good(route, tiny))
    linear = next(o for o in reversed(graph.operations) if any(w.ndim == 2 for w in o.weights.values()))
    place, weight = next((p, w) for p, w in linear.weights.items() if w.ndim == 2)
    copy = edited(
        good(route, tiny), [lambda model: model.set_weight(linear.name, place, np.zeros_like(weight))], tmp_path
    )
    after = next(o for o in read_graph(copy).operations if o.name == linear.name)

    assert not after.weights[place].any()
    assert weight.any()


@pytest.mark.parametrize("make", [mixed, tiny])
def test_an_operation_is_taken_out(make: Callable[[], Classifier], tmp_path: Path) -> None:
    for route in ("onnx-torchscript", "mlprogram"):
        graph = read_graph(good(route, make))
        softmax = next(o for o in graph.operations if o.type.lower() == "softmax")
        home = tmp_path / route
        home.mkdir()
        copy = edited(good(route, make), [lambda model, name=softmax.name: model.bypass(name)], home)
        backend = "onnxruntime" if route.startswith("onnx") else "coreml-evaluator"
        found = np.asarray(find_backend(backend).load(copy)(reference(make).images.pixels).probabilities)

        assert not np.allclose(found.sum(axis=1), 1, atol=0.1)


def test_a_layer_is_taken_out(tmp_path: Path) -> None:
    found = answers("onnx-coreml", [lambda model: model.bypass("/Softmax")], tmp_path)

    assert not np.allclose(found.sum(axis=1), 1, atol=0.1)
