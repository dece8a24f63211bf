"""Pipelines: models that run one after the other."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conversion.guards.quiet import chatter_to
from parity.core.errors import CoreMLError
from parity.coreml import Evaluator, patch_coremltools
from tests.coreml.image_models import HEIGHT, WIDTH, image_model
from tests.coreml.networks import Model, specify
from tests.coreml.programs import Builder, Edited, ct

WEIGHTS = np.arange(1, 13, dtype=np.float32)


def scaled(source: str, target: str, scale: float) -> Any:
    """Convert a program: target = source * scale * WEIGHTS, which stand in a weight file."""
    body = {"x": lambda x: _scale(x, target, scale), "y": lambda y: _scale(y, target, scale)}[source]
    with chatter_to():
        return ct.convert(
            Builder.program(input_specs=[Builder.TensorSpec(shape=(12,))], opset_version=ct.target.iOS16)(body),
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )


def _scale(value: Any, name: str, scale: float) -> Any:
    return Builder.mul(x=Builder.mul(x=value, y=WEIGHTS), y=np.float32(scale), name=name)


def network(source: str, target: str) -> Any:
    """Specify a network: target = source + 1."""

    def add(b: Any) -> None:
        b.add_activation("plus one", "LINEAR", source, target, params=[1, 1])

    return specify(add, {source: (12,)}, (target,))


def with_custom_layer(specification: Any) -> Any:
    """Make the network's layer one whose code is in an app."""
    specification.neuralNetwork.layers[0].custom.className = "Mine"
    return specification


def of(
    *parts: Any, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("z",), kind: str = "pipeline"
) -> Any:
    """Specify a pipeline of these specifications."""
    specification = ct.proto.Model_pb2.Model(specificationVersion=7)
    held = getattr(specification, kind)
    held.SetInParent()
    pipeline = held if kind == "pipeline" else held.pipeline
    for part in parts:
        pipeline.models.add().CopyFrom(part)
    features = {f.name: f for part in parts for f in (*part.description.input, *part.description.output)}
    for name in inputs:
        specification.description.input.add().CopyFrom(features[name])
    for name in outputs:
        specification.description.output.add().CopyFrom(features[name])
    return specification


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save y = 2wx, z = 3wy as a package of two programs with a weight file each."""
    path = tmp_path_factory.mktemp("pipeline") / "both.mlpackage"
    with chatter_to():
        pipeline = ct.utils.make_pipeline(
            scaled("x", "y", 2), scaled("y", "z", 3), compute_units=ct.ComputeUnit.ALL
        )
        pipeline.save(str(path))
    return path


def test_programs_run_one_after_the_other(package: Path) -> None:
    found = Evaluator(package).predict({"x": np.ones(12)})

    assert {name: value.tolist() for name, value in found.items()} == {"z": (6 * WEIGHTS**2).tolist()}


def test_a_trace_names_part_and_value(package: Path) -> None:
    traced = Evaluator(package).trace({"x": np.ones(12)})

    assert traced["model0/y"].tolist() == (2 * WEIGHTS).tolist()
    assert traced["model1/z"].tolist() == (6 * WEIGHTS**2).tolist()
    assert {name.split("/")[0] for name in traced} == {"model0", "model1"}


def test_a_program_and_a_network_and_outputs_of_both() -> None:
    first = scaled("x", "y", 2)
    model = Evaluator(Edited(of(first.get_spec(), network("y", "z"), outputs=("y", "z")), first.weights_dir))

    found = model.predict([{"x": np.ones(12)}, {"x": np.zeros(12)}])

    assert [answer["y"].tolist() for answer in found] == [(2 * WEIGHTS).tolist(), [0] * 12]
    assert [answer["z"].tolist() for answer in found] == [(2 * WEIGHTS + 1).tolist(), [1] * 12]


@pytest.mark.parametrize("kind", ["pipelineClassifier", "pipelineRegressor"])
def test_the_other_kinds_of_pipeline(kind: str) -> None:
    model = Evaluator(Model(of(network("x", "y"), network("y", "z"), kind=kind)))

    assert model.predict({"x": np.zeros(12)})["z"].tolist() == [2] * 12


def test_pipelines_in_pipelines() -> None:
    inner = of(network("x", "y"), network("y", "z"))
    model = Evaluator(Model(of(inner, network("z", "out"), outputs=("out",))))

    assert model.predict({"x": np.zeros(12)})["out"].tolist() == [3] * 12
    assert "model0/model1/z" in model.trace({"x": np.zeros(12)})


def test_an_image_goes_from_part_to_part() -> None:
    def copied(source: str, target: str) -> Any:
        shape = (1, 3, HEIGHT, WIDTH)
        made = specify(lambda b: b.add_activation("a", "RELU", source, target), {source: shape}, (target,))
        made.neuralNetwork.imageInputShapeMapping = 1
        image = ct.proto.FeatureTypes_pb2.ImageFeatureType(width=WIDTH, height=HEIGHT, colorSpace=20)
        for feature in (*made.description.input, *made.description.output):
            feature.type.imageType.CopyFrom(image)
        return made

    model = Evaluator(Model(of(copied("x", "y"), copied("y", "z"))))
    found = model.predict({"x": Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50))})["z"]

    assert (found.mode, found.getpixel((0, 0))) == ("RGBA", (200, 100, 50, 255))


def test_a_classifier_at_the_end() -> None:
    last = image_model(classes=("red", "green", "blue"))
    specification = of(
        last.get_spec(), inputs=("image",), outputs=("classLabel", "classLabel_probs"), kind="pipelineClassifier"
    )
    found = Evaluator(Edited(specification, last.weights_dir)).predict(
        {"image": Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 255))}
    )

    assert found["classLabel"] == "blue"
    assert set(found["classLabel_probs"]) == {"red", "green", "blue"}


def test_an_optional_input_of_a_part() -> None:
    part = network("x", "z")
    part.description.input[0].type.isOptional = True
    part.description.input[0].type.multiArrayType.floatDefaultValue = 4

    assert Evaluator(Model(of(part))).predict({})["z"].tolist() == [5] * 12


def test_through_coremltools(package: Path) -> None:
    with patch_coremltools():
        found = ct.models.MLModel(str(package)).predict({"x": np.ones(12)})

    assert found["z"].tolist() == (6 * WEIGHTS**2).tolist()


def named(specification: Any, *names: str) -> Any:
    specification = copy.deepcopy(specification)
    specification.pipeline.names.extend(names)
    return specification


def tree(source: str, target: str) -> Any:
    made = copy.deepcopy(network(source, target))
    made.treeEnsembleRegressor.SetInParent()
    return made


GOOD = of(network("x", "y"), network("y", "z"))


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (of(outputs=(), inputs=()), "MLModel: a pipeline without models"),
        (
            of(ct.proto.Model_pb2.Model(), outputs=(), inputs=()),
            r"MLModel: stage 1 of 1, `model0` \(of an unknown type\): a model of type unknown; the evaluator runs",
        ),
        (
            of(network("x", "y"), tree("y", "z")),
            r"MLModel: stage 2 of 2, `model1` \(treeEnsembleRegressor\): a model of type tree",
        ),
        (
            named(of(network("x", "y"), tree("y", "z")), "a", "b"),
            r"MLModel: stage 2 of 2, `b` \(treeEnsembleRegressor\): .*; the evaluator runs mlProgram, .* on a Mac",
        ),
        (
            of(network("x", "y"), with_custom_layer(network("y", "z"))),
            r"stage 2 of 2, `model1` \(neuralNetwork\): layer `plus one` \(custom\): its code, the class `Mine`",
        ),
        (
            of(of(network("x", "y"), tree("y", "z")), outputs=("z",)),
            r"stage 1 of 1, `model0` \(pipeline\): stage 2 of 2, `model1` \(treeEnsembleRegressor\)",
        ),
        (
            of(network("x", "y"), network("ghost", "z")),
            r"stage 2 of 2, `model1` \(neuralNetwork\): the input `ghost` is missing",
        ),
        (of(network("x", "y"), outputs=("x", "y"), inputs=()), "no input `x`; the model takes none"),
    ],
)
def test_what_is_refused(specification: Any, message: str) -> None:
    with pytest.raises(CoreMLError, match=message):
        Evaluator(Model(specification)).predict({"x": np.zeros(12)})


def test_an_output_that_no_part_gives() -> None:
    specification = copy.deepcopy(GOOD)
    specification.description.output[0].name = "ghost"

    with pytest.raises(CoreMLError, match="the output `ghost` is given by no part"):
        Evaluator(Model(specification)).predict({"x": np.zeros(12)})


def test_a_pipeline_has_no_functions_and_here_no_state() -> None:
    model = Evaluator(Model(GOOD))

    with pytest.raises(CoreMLError, match="no function `main`; a pipeline has none"):
        Evaluator(Model(GOOD), "main")
    with pytest.raises(CoreMLError, match="declares no state"):
        model.make_state()
    with pytest.raises(CoreMLError, match="declares no state"):
        model.predict({"x": np.zeros(12)}, object())  # type: ignore[call-overload]
