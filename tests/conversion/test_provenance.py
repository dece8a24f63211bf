from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conversion import ROUTES, Artifact, Classifier, Preprocessing, convert, open_artifact
from conversion.guards.quiet import import_coremltools
from conversion.provenance import CONVERTERS, KEY, Provenance, package_versions, source_hash, weights_hash
from tests.conversion.classifiers import LABELS, PREPROCESSING, tiny

Converted = Callable[[str], Artifact]

REPOSITORY = Path(__file__).parents[2]
texts = st.text(st.characters(exclude_categories=["Cs"]))
names = st.dictionaries(texts, texts, max_size=4)
sides = st.integers(1, 2000)
channels = st.tuples(*[st.floats(-1, 1)] * 3)
preprocessings = st.builds(
    Preprocessing,
    size=st.tuples(sides, sides),
    mean=channels,
    std=st.tuples(*[st.floats(1e-9, 10)] * 3),
    resize=st.none() | sides | st.tuples(sides, sides),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    crop_rounding=st.sampled_from(["even", "down"]),
)
provenances = st.builds(
    Provenance,
    model=texts,
    route=texts,
    weights=texts,
    options=names,
    packages=names,
    labels=st.lists(texts).map(tuple),
    preprocessing=st.none() | preprocessings,
)


# The note


@given(provenances)
def test_what_is_written_is_read_back(provenance: Provenance) -> None:
    text = provenance.to_json()

    assert Provenance.from_json(text) == provenance
    assert text.encode("utf-8").decode("utf-8") == text


def test_the_note_is_json_that_others_can_read() -> None:
    provenance = Provenance("net", "onnx", "abc", {"opset": "17"}, {"torch": "2.13.0"}, ("café",), PREPROCESSING)

    assert "café" in provenance.to_json()
    assert json.loads(provenance.to_json()) == {
        "model": "net",
        "route": "onnx",
        "weights": "abc",
        "options": {"opset": "17"},
        "packages": {"torch": "2.13.0"},
        "labels": ["café"],
        "preprocessing": {
            "size": [32, 32],
            "mean": [0.2, 0.5, 0.7],
            "std": [0.15, 0.3, 0.6],
            "resize": 36,
            "interpolation": "bilinear",
            "crop_rounding": "even",
        },
        "inside": ["normalise", "softmax", "labels"],
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(texts | json_values.map(json.dumps))
@example("")
@example("[" * 100_000)
def test_a_foreign_note_is_none(text: str) -> None:
    assert Provenance.from_json(text) is None


FIELDS = sorted(json.loads(Provenance("", "", "").to_json()))


@given(field=st.sampled_from(FIELDS), value=json_values)
def test_a_note_with_one_field_of_another_kind_is_none_or_can_be_written_again(field: str, value: Any) -> None:
    note = json.loads(Provenance("net", "onnx", "abc", labels=LABELS, preprocessing=PREPROCESSING).to_json())

    provenance = Provenance.from_json(json.dumps({**note, field: value}))

    if provenance is not None:
        assert all(isinstance(label, str) for label in provenance.labels)
        assert isinstance(provenance.route, str)
        assert Provenance.from_json(provenance.to_json()) == provenance


# Files of before `inside` was written do all of it.
@pytest.mark.parametrize("field", [field for field in FIELDS if field != "inside"])
def test_a_note_without_one_field_is_none(field: str) -> None:
    note = json.loads(Provenance("net", "onnx", "abc").to_json())
    del note[field]

    assert Provenance.from_json(json.dumps(note)) is None


def test_a_note_of_a_later_version_is_none() -> None:
    note = {**json.loads(Provenance("net", "onnx", "abc").to_json()), "more": 1}

    assert Provenance.from_json(json.dumps(note)) is None


# Versions


def test_versions_of_what_converts() -> None:
    versions = package_versions()

    assert {"torch", "onnx", "onnxscript", "onnx-coreml", "coremltools", "coreml-parity"} <= set(CONVERTERS)
    assert versions == {name: importlib.metadata.version(name) for name in CONVERTERS}


def test_what_is_not_installed_is_left_out() -> None:
    assert package_versions(("no-such-package", "numpy")) == {"numpy": np.__version__}


# In the files


def note_in(artifact: Artifact) -> str:
    if artifact.format == "onnx":
        (entry,) = (e for e in onnx.load(str(artifact.path)).metadata_props if e.key == KEY)
        return entry.value
    if artifact.format == "coreai":
        metadata = json.loads((artifact.path / "metadata.json").read_text(encoding="utf-8"))
        return str(metadata["creatorDefinedMetadata"][KEY])
    description = import_coremltools().utils.load_spec(str(artifact.path)).description
    return description.metadata.userDefined[KEY]


@pytest.mark.parametrize("route", ROUTES)
def test_every_artifact_says_where_it_comes_from(route: str, converted: Converted) -> None:
    note = json.loads(note_in(converted(route)))

    assert (note["model"], note["route"]) == ("tiny", route)
    assert note["weights"] == weights_hash(tiny())
    assert note["labels"] == list(LABELS)
    assert note["preprocessing"]["std"] == [0.15, 0.3, 0.6]
    for name in ("torch", "coremltools"):
        assert note["packages"][name] == importlib.metadata.version(name)
    assert Provenance.from_json(note_in(converted(route))) == converted(route).provenance


def test_the_options_tell_the_routes_apart(converted: Converted) -> None:
    options = {route: json.loads(note_in(converted(route)))["options"] for route in ROUTES}

    assert options == {
        "onnx": {"exporter": "torch.export"},
        "onnx-torchscript": {"exporter": "torchscript", "opset": "17"},
        "mlprogram": {"precision": "fp16"},
        "mlprogram-fp32": {"precision": "fp32"},
        "mlprogram-export": {"precision": "fp16", "frontend": "export"},
        "onnx-coreml": {"opset": "9"},
        "coreai": {"precision": "fp32"},
        "coreai-fp16": {"precision": "fp16"},
    }


def test_the_opset_of_the_note_is_that_of_the_file(converted: Converted) -> None:
    torchscript, legacy = converted("onnx-torchscript"), converted("onnx-coreml")

    assert onnx.load(str(torchscript.path)).opset_import[0].version == 17
    assert onnx.load(str(legacy.intermediate)).opset_import[0].version == 9


labels = texts.filter(lambda text: text.strip() and "\0" not in text)
EXOTIC = (
    "\x01",
    'say "cheese"',
    "it's",
    "back\\slash\\n",
    "two\nlines",
    "tab\tand\r\nreturn",
    "{'a': 1}",
    "%s {} $HOME",
    "naïve",
    "nai\u0308ve",
    "日本語",
    "👩‍👩‍👧 \U0001f1e8\U0001f1ed",
    "עברית",
    "\u202eright to left",
    "\ufeffmark",
    " spaces kept ",
)


def labels_in(artifact: Artifact) -> list[str]:
    """Read the class names from where the runtime that answers with them reads them."""
    if artifact.format == "onnx":
        return json.loads(note_in(artifact))["labels"]
    from PIL import Image

    from parity.coreml import Evaluator

    answer = Evaluator(artifact.path).predict({"image": Image.new("RGB", (2, 2))})
    return list(answer["classLabelProbs"])


@pytest.mark.parametrize("route", ["onnx", "onnx-torchscript", "mlprogram-fp32", "onnx-coreml"])
def test_any_text_is_a_label_in_every_format(route: str, tmp_path: Path) -> None:
    @settings(max_examples=2)
    @given(st.lists(labels, min_size=12, max_size=12, unique=True))
    @example(list(EXOTIC[:12]))
    @example(list(EXOTIC[-12:]))
    def holds(names: list[str]) -> None:
        linear = torch.nn.Sequential(torch.nn.Flatten()).eval()
        classifier = Classifier("flat", linear, Preprocessing(size=(2, 2)), tuple(names))

        artifact = convert(classifier, route, tmp_path)

        assert labels_in(artifact) == names
        assert open_artifact(artifact.path) == artifact
        assert open_artifact(artifact.path).provenance.labels == tuple(names)

    holds()


# Weights


def test_the_same_weights_have_the_same_hash() -> None:
    assert weights_hash(tiny()) == weights_hash(tiny())
    assert weights_hash(tiny()) != weights_hash(tiny(seed=1))


@given(st.data())
def test_any_changed_element_changes_the_hash(data: st.DataObject) -> None:
    classifier = tiny()
    before = weights_hash(classifier)
    state = classifier.module.state_dict()
    tensor = state[data.draw(st.sampled_from(sorted(state)))].view(-1)
    index = data.draw(st.integers(0, len(tensor) - 1))

    if tensor.is_floating_point():
        tensor[index] = torch.nextafter(tensor[index], torch.tensor(torch.inf))
    else:
        tensor[index] += 1

    assert weights_hash(classifier) != before


def module_with(**parameters: torch.Tensor) -> Classifier:
    module = torch.nn.Module()
    for name, tensor in parameters.items():
        module.register_buffer(name, tensor)
    return tiny(module=module)


def test_name_type_and_shape_count() -> None:
    ramp = torch.arange(6, dtype=torch.float32)
    variants = [
        module_with(a=ramp),
        module_with(b=ramp),
        module_with(a=ramp.reshape(2, 3)),
        module_with(a=ramp.reshape(3, 2)),
        module_with(a=ramp.reshape(3, 2).T.contiguous()),
        module_with(a=ramp.view(torch.int32)),
        module_with(a=ramp[:3], b=ramp[3:]),
        module_with(a=ramp[:4], b=ramp[4:]),
    ]

    assert len({weights_hash(variant) for variant in variants}) == len(variants)


def test_order_and_memory_layout_do_not_count() -> None:
    square = torch.arange(4.0).reshape(2, 2)

    assert weights_hash(module_with(a=square, b=square + 1)) == weights_hash(module_with(b=square + 1, a=square))
    assert weights_hash(module_with(a=square.T.contiguous().T)) == weights_hash(module_with(a=square))


def test_types_that_numpy_lacks_have_a_hash() -> None:
    one, two = (module_with(a=torch.tensor([1.0, x], dtype=torch.bfloat16)) for x in (1.0, 2.0))

    assert weights_hash(one) != weights_hash(two)


def test_a_buffer_that_a_checkpoint_leaves_out_counts() -> None:
    def classifier(offset: float) -> Classifier:
        module = torch.nn.Module()
        module.register_buffer("offset", torch.tensor(offset), persistent=False)
        return tiny(module=module)

    assert weights_hash(classifier(0.0)) != weights_hash(classifier(1.0))


def test_a_shared_weight_is_not_one_weight_less() -> None:
    shared, twice = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    twice.load_state_dict(shared.state_dict())
    first = tiny(module=torch.nn.Sequential(shared, shared))
    second = tiny(module=torch.nn.Sequential(shared, twice))

    assert weights_hash(first) == weights_hash(second)


# Everything else


def test_the_same_classifier_has_the_same_source() -> None:
    assert source_hash(tiny()) == source_hash(tiny())
    assert source_hash(tiny()) == source_hash(tiny(seed=1))


def test_running_and_hashing_change_nothing() -> None:
    classifier = tiny()
    before = source_hash(classifier)
    with torch.no_grad():
        classifier.module(torch.zeros(1, 3, 32, 32))

    assert source_hash(classifier) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"labels": (*LABELS[:7], "other")},
        {"labels": (*LABELS[1:], LABELS[0])},
        {"preprocessing": dataclasses.replace(PREPROCESSING, mean=(0.2, 0.5, 0.6))},
        {"preprocessing": dataclasses.replace(PREPROCESSING, resize=None)},
        {"module": torch.nn.Flatten().eval()},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_name_labels_preprocessing_and_structure_count(changes: dict[str, Any]) -> None:
    assert source_hash(tiny(**changes)) != source_hash(tiny())


BASE = """
import torch

class Base(torch.nn.Module):
    def forward(self, x):
        return x * 2
"""
NET = """
import sys
import torch
sys.path.insert(0, {directory!r})
from {base} import Base

def scaled(x):
    return x * 3

class Part:
    pass

class Net(Base):
    def __init__(self):
        super().__init__()
        self.kind = Part

    def extra(self, x):
        return scaled(x)
"""


def written(path: Path, source: str) -> Path:
    path.write_text(source, encoding="utf-8")
    return path


def classifier_in(path: Path, name: str) -> Classifier:
    """Execute a file as `parity` does, which does not make it importable by this name elsewhere."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return tiny(module=module.Net())


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("base", "x * 2", "x * 4"), ("net", "x * 3", "x * 5"), ("net", "return scaled(x)", "return scaled(x) + 1")],
    ids=["the forward of a base class", "a function beside the class", "a method"],
)
def test_edited_code_counts(
    file: str, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    base = f"base_{abs(hash(request.node.name))}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    files = {
        "base": written(tmp_path / f"{base}.py", BASE),
        "net": written(tmp_path / "net.py", NET.format(directory=str(tmp_path), base=base)),
    }
    before = source_hash(classifier_in(files["net"], "first"))
    assert source_hash(classifier_in(files["net"], "another_name")) == before

    edited = files[file].read_text(encoding="utf-8").replace(old, f"{new}  # edited")
    written(files[file], edited)
    monkeypatch.delitem(sys.modules, base)

    assert source_hash(classifier_in(files["net"], "first")) != before


class Holder(torch.nn.Module):
    """Keep a value that neither its weights nor its repr show."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def above(x: torch.Tensor) -> torch.Tensor:
    return x + 1


def below(x: torch.Tensor) -> torch.Tensor:
    return x - 1


def long_with(number: float) -> torch.Tensor:
    """Put a number where neither torch's repr nor numpy's shows it."""
    tensor = torch.zeros(5000)
    tensor[2500] = number
    return tensor


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (0.5, 0.25),
        (1, True),
        ("a", "b"),
        (None, 0),
        (above, below),
        (
            lambda x: x + 1,
            lambda x: x - 1,
        ),
        (partial(above, x=1), partial(above, x=2)),
        (partial(above, long_with(1)), partial(above, long_with(2))),
        (torch.nn.ReLU, torch.nn.GELU),
        ([1, [2, 3]], [1, [2, 4]]),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (torch.float32, torch.float64),
        (long_with(1), long_with(2)),
        (long_with(1).numpy(), long_with(2).numpy()),
        (np.zeros(2, np.float32), np.zeros(2, np.float64)),
        (np.array(["a", None], object), np.array(["b", None], object)),
        ([long_with(1)], [long_with(2)]),
        ({"a": (long_with(1),)}, {"a": (long_with(2),)}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_setting_counts(value: Any, other: Any) -> None:
    def hashed(value: Any) -> str:
        return source_hash(tiny(module=torch.nn.Sequential(Holder(value))))

    assert hashed(value) == hashed(value)
    assert hashed(value) != hashed(other)


def test_where_things_lie_in_memory_does_not_count() -> None:
    kept = [object() for _ in range(2)]

    assert len({source_hash(tiny(module=Holder(thing))) for thing in kept}) == 1


def test_another_process_finds_the_same_hashes() -> None:
    # Not as tests.conversion: a dependency installs a package `tests` of its own.
    script = """
import sys
from conversion.provenance import source_hash, weights_hash
sys.path.insert(0, "tests/conversion")
from classifiers import tiny
c = tiny()
c.module.settings = {"relu", "gelu", "silu", "elu"}
print(weights_hash(c), source_hash(c))
"""
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(answers) == 1
    assert weights_hash(tiny()) in answers.pop()
