"""Two small classifiers that tell pictures apart, and copies of what they convert to with a fault put in."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from conversion import Artifact, Classifier, Preprocessing, convert
from conversion.artifact import open_artifact
from conversion.guards.quiet import import_coremltools
from conversion.images import find_images
from parity.backends.reference import Reference, make_reference
from parity.core.results import Prediction
from parity.diagnosis.causes import examine
from parity.diagnosis.examination import Examination
from parity.diagnosis.outcome import Explanation
from parity.diagnosis.search import explain
from parity.judging import Judging, judge_prediction, judge_with_prediction
from parity.suite.images import ImageSet, load_images
from tests.parity import tiny

ROOT = Path(__file__).parents[3]
PHOTOS = ROOT / "fixtures" / "images" / "photos"
LABELS = tuple(f"class {letter}" for letter in "ABCDEFGHIJKL")


class Mixed(torch.nn.Module):
    """Depthwise and residual convolutions, padded pooling, leaky and smooth activations, normalised tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.leaky = torch.nn.LeakyReLU(0.1)
        self.pool = torch.nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.wide = torch.nn.Conv2d(8, 16, 3, padding=1)
        self.shortcut = torch.nn.Conv2d(8, 16, 1)
        self.smooth = torch.nn.GELU()
        self.tokens = torch.nn.LayerNorm(16, eps=1e-5)
        self.head = torch.nn.Linear(16, len(LABELS))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.leaky(self.depthwise(self.norm(self.stem(image)))))
        x = self.smooth(self.wide(x) + self.shortcut(x))
        logits: torch.Tensor = self.head(self.tokens(x.flatten(2).mean(-1)))
        return logits


@cache
def mixed() -> Classifier:
    """Make the second classifier: seeded, its batch norm run over the photos, its head stretched."""
    preprocessing = Preprocessing(size=(48, 48), resize=56)
    module = Mixed()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        for norm in (module.norm, module.tokens):
            norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) + 0.5)
    pixels = load_images(str(PHOTOS / "*.jpg"), preprocessing).pixels
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    photos = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    module.norm.momentum = 1.0
    with torch.no_grad():
        module.train()(photos)
        answers = module.eval()(photos)
        scale = 2 / answers.std(dim=0)
        module.head.bias.copy_((module.head.bias - answers.mean(dim=0)) * scale)
        module.head.weight.mul_(scale[:, None])
    return Classifier("mixed", module.eval(), preprocessing, LABELS)


@cache
def reference(make: Callable[[], Classifier] = mixed) -> Reference:
    """Let PyTorch answer: the tiny classifier for its pictures, the mixed one for the photos."""
    classifier = make()
    images = tiny.pictures() if make is tiny.tiny else [str(PHOTOS / "*.jpg")]
    return make_reference(classifier, load_images(images, classifier.preprocessing))


@cache
def good(route: str, make: Callable[[], Classifier] = mixed) -> Artifact:
    """Convert once per process."""
    return convert(make(), route, _home())


@cache
def _home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="coreml-parity-tests-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def broken(artifact: Artifact, break_it: Callable[[Any], None]) -> Artifact:
    """Copy an artefact, break the copy, and open it as a stranger would."""
    path = Path(tempfile.mkdtemp(dir=_home())) / artifact.path.name
    if artifact.format == "onnx":
        model = onnx.load(str(artifact.path))
        break_it(model)
        onnx.save(model, str(path))
        return open_artifact(path)
    utils = import_coremltools().utils
    specification = utils.load_spec(str(artifact.path))
    break_it(specification)
    if artifact.path.is_dir():
        shutil.copytree(artifact.path, path)
        (path / "Data" / "com.apple.CoreML" / "model.mlmodel").write_bytes(specification.SerializeToString())
    else:
        utils.save_spec(specification, str(path))
    return open_artifact(path)


def examined(
    artifact: Artifact, against: Reference, prediction: Prediction | None = None, batch: int = 1
) -> Examination:
    """Judge an artefact, or answers to it, and make the examination of it."""
    backend = "onnxruntime" if artifact.format == "onnx" else "coreml-evaluator"
    if prediction is None:
        subject, prediction = judge_with_prediction(against, artifact, backend, Judging(batch=batch))
    else:
        subject = judge_prediction(against, artifact, backend, prediction)
    return examine(subject, against, artifact, prediction, batch)


def explained(
    artifact: Artifact, against: Reference, prediction: Prediction | None = None, batch: int = 1
) -> Explanation:
    """Explain an artefact that does not agree."""
    examination = examined(artifact, against, prediction, batch)
    assert examination.candidate.judgement.verdict == "fail"
    return explain(examination)


def rejudged(examination: Examination, **changes: Any) -> Examination:
    """Examine the same candidate, judged otherwise in these fields."""
    candidate = examination.candidate
    return replace(examination, candidate=replace(candidate, judgement=replace(candidate.judgement, **changes)))


def causes(explanation: Explanation) -> list[str]:
    """List the faults that were confirmed."""
    return [diagnosis.fault for diagnosis in explanation.diagnoses if diagnosis.confirmed]


def node(model: Any, kind: str, place: int = 0) -> Any:
    """Find a node of an ONNX model by its type."""
    return [one for one in model.graph.node if one.op_type == kind][place]


def set_attribute(operation: Any, name: str, value: Any) -> None:
    """Set an attribute of an ONNX node."""
    kept = [attribute for attribute in operation.attribute if attribute.name != name]
    del operation.attribute[:]
    operation.attribute.extend([*kept, helper.make_attribute(name, value)])


def change_weight(model: Any, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change an initializer of an ONNX model in place."""
    tensor = next(one for one in model.graph.initializer if one.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(array.copy()), array.dtype), name))


def before_all(model: Any, kind: str, others: list[np.ndarray], **attributes: Any) -> None:
    """Put a node between the image and all that reads it; others: its other inputs."""
    names = [f"fault {index}" for index in range(len(others))]
    for name, array in zip(names, others, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for one in model.graph.node:
        one.input[:] = ["faulty image" if name == "image" else name for name in one.input]
    model.graph.node.insert(0, helper.make_node(kind, ["image", *names], ["faulty image"], **attributes))


def behind_all(model: Any, kind: str, others: list[np.ndarray] | None = None, **attributes: Any) -> None:
    """Put a node behind the answer."""
    output = model.graph.output[0].name
    names = [f"fault {index}" for index in range(len(others or []))]
    for name, array in zip(names, others or [], strict=True):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for one in model.graph.node:
        one.output[:] = ["inner answer" if name == output else name for name in one.output]
    model.graph.node.append(helper.make_node(kind, ["inner answer", *names], [output], **attributes))


def without_softmax(model: Any) -> None:
    """Let an ONNX model answer logits."""
    last = node(model, "Softmax", -1)
    maker = next(one for one in model.graph.node if last.input[0] in one.output)
    maker.output[list(maker.output).index(last.input[0])] = last.output[0]
    model.graph.node.remove(last)


def swapped(model: Any) -> None:
    """Let an ONNX model read BGR."""
    before_all(model, "Gather", [np.array([2, 1, 0])], axis=1)


def files() -> tuple[Path, ...]:
    """List the photos."""
    return find_images([str(PHOTOS / "*.jpg")], Path())


def some(against: Reference, rows: list[int]) -> ImageSet:
    """Take some of a reference's images."""
    return ImageSet(tuple(against.images.names[i] for i in rows), against.images.pixels[rows])
