"""What is told of a converted file, and what its digest depends on: what computes, and nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conversion import Artifact, ConversionError, convert
from conversion.guards.quiet import import_coremltools
from parity.core.errors import ParityError
from parity.formats.facts import ArtifactFacts, artifact_digest, changed_facts, facts
from tests.parity.tiny import converted, tiny


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])


def branch(*kinds: str) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node(kind, ["x"], ["z"]) for kind in kinds], "branch", [], [value("z")])


def network() -> onnx.ModelProto:
    """Make a model with operations in a branch, in a domain of somebody's own, and a constant."""
    nodes = [
        helper.make_node("Constant", [], ["c"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Relu", "Exp")),
        helper.make_node("Fused", ["y"], ["z"], domain="com.example"),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 2)]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    graph = helper.make_graph(nodes, "net", [value("x")], [value("z")], [weight])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def saved(model: onnx.ModelProto, path: Path) -> Artifact:
    onnx.save(model, str(path))
    return Artifact(path, "onnx", "fp32")


def test_facts_of_onnx(tmp_path: Path) -> None:
    model = network()

    found = facts(saved(model, tmp_path / "net.onnx"))

    # The constant is a value; operations in both branches count.
    assert found.operations == {"Exp": 1, "If": 1, "Relu": 2, "com.example::Fused": 1}
    assert list(found.operations) == sorted(found.operations)
    assert (found.format, found.precision, found.version) == ("onnx", "fp32", "opset 17, com.example 2")
    assert found.size == len(model.SerializeToString())


def annotate(model: onnx.ModelProto) -> None:
    """Leave what exporters leave: versions, dates, and the paths of a machine."""
    model.producer_name, model.producer_version, model.doc_string = "pytorch", "2.13.0+cpu", "exported today"
    model.metadata_props.add(key="coreml-parity", value="{}")
    model.graph.doc_string = "a graph"
    for node in [*model.graph.node, *model.graph.node[1].attribute[0].g.node]:
        node.doc_string = "/somewhere/model.py(45): forward"
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/somewhere/model.py")
    model.graph.initializer[0].doc_string = "a weight"


def test_notes_change_neither_facts_nor_digest(tmp_path: Path) -> None:
    plain = saved(network(), tmp_path / "plain.onnx")
    annotated = network()
    annotate(annotated)
    noted = saved(annotated, tmp_path / "noted.onnx")

    assert noted.path.stat().st_size > plain.path.stat().st_size
    assert facts(noted) == facts(plain)
    assert artifact_digest(noted) == artifact_digest(plain)


def rename(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type = "Other"


def weigh(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].float_data[0] = 1.5


def upgrade(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def label(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "other"


@pytest.mark.parametrize("change", [rename, weigh, upgrade, label])
def test_what_computes_changes_the_digest(tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    changed = network()
    change(changed)

    before = artifact_digest(saved(network(), tmp_path / "a.onnx"))
    assert artifact_digest(saved(changed, tmp_path / "b.onnx")) != before


def external(directory: Path, number: float) -> Artifact:
    """Save a model whose weights stand in a file beside it."""
    directory.mkdir()
    model = network()
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full(1000, number, np.float32), "w"))
    path = directory / "net.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin")
    return Artifact(path, "onnx", "fp32")


def test_weights_beside_an_onnx_file_count(tmp_path: Path) -> None:
    one, other = external(tmp_path / "one", 1.0), external(tmp_path / "other", 2.0)

    assert one.path.read_bytes() == other.path.read_bytes()
    assert facts(one).size > 4000
    assert artifact_digest(one) != artifact_digest(other)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert artifact_digest(Artifact(tmp_path / "copy" / "net.onnx", "onnx", "fp32")) == artifact_digest(one)


def test_weights_that_are_gone_are_one_line(tmp_path: Path) -> None:
    artifact = external(tmp_path / "net", 1.0)
    (tmp_path / "net" / "weights.bin").unlink()

    with pytest.raises(ConversionError, match=r"weights\.bin: these weights are missing; copy them"):
        facts(artifact)


@pytest.mark.parametrize("content", [b"torn", b"\xff" * 40])
def test_what_is_no_model_is_one_line(tmp_path: Path, content: bytes) -> None:
    for name, form in (("net.onnx", "onnx"), ("net.mlmodel", "neuralnetwork")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises((ConversionError, ParityError)) as told:
            facts(Artifact(tmp_path / name, form, "fp32"))  # type: ignore[arg-type]
        assert name in str(told.value)
        assert len(str(told.value).splitlines()) == 1


# Core ML


def neuralnetwork(path: Path) -> Artifact:
    """Write a classifier with a loop, a branch, a constant and a preprocessing step."""
    model = import_coremltools().proto.Model_pb2.Model()
    model.specificationVersion = 4
    model.description.input.add().name = "image"
    network = model.neuralNetworkClassifier
    network.preprocessing.add().scaler.channelScale = 0.5
    network.layers.add().convolution.kernelChannels = 3
    network.layers.add().loadConstant.shape.append(1)
    loop, choice = network.layers.add().loop, network.layers.add().branch
    loop.conditionNetwork.layers.add().lessThan.alpha = 1
    loop.bodyNetwork.layers.add().softmax.SetInParent()
    choice.ifBranch.layers.add().activation.ReLU.SetInParent()
    choice.elseBranch.layers.add().softmax.SetInParent()
    path.write_bytes(model.SerializeToString())
    return Artifact(path, "neuralnetwork", "fp32")


def test_facts_of_a_neural_network(tmp_path: Path) -> None:
    assert facts(neuralnetwork(tmp_path / "net.mlmodel")) == ArtifactFacts(
        "neuralnetwork",
        "fp32",
        "specification 4",
        (tmp_path / "net.mlmodel").stat().st_size,
        {
            "activation": 1,
            "branch": 1,
            "convolution": 1,
            "lessThan": 1,
            "loop": 1,
            "preprocessing.scaler": 1,
            "softmax": 2,
        },
    )


def test_facts_of_an_ml_program() -> None:
    found = facts(converted("mlprogram"))

    assert (found.format, found.precision, found.version) == ("mlprogram", "fp16", "specification 6, CoreML5")
    assert "const" not in found.operations
    assert {name: found.operations[name] for name in ("conv", "avg_pool", "linear", "softmax", "classify")} == {
        "conv": 1,
        "avg_pool": 1,
        "linear": 1,
        "softmax": 1,
        "classify": 1,
    }
    weights = next(converted("mlprogram").path.rglob("weight.bin")).stat().st_size
    assert weights < found.size < weights + 20_000


def package(tmp_path: Path) -> Artifact:
    """Copy the converted package, to change it."""
    shutil.copytree(converted("mlprogram").path, tmp_path / "tiny.mlpackage")
    return Artifact(tmp_path / "tiny.mlpackage", "mlprogram", "fp16", "mlprogram")


def test_another_conversion_of_the_same_has_the_same_digest(tmp_path: Path) -> None:
    first, second = converted("mlprogram"), convert(tiny(), "mlprogram", tmp_path)

    # coremltools draws UUIDs anew; that the digest of the file as it is would not do is the point.
    manifests = [(one.path / "Manifest.json").read_bytes() for one in (first, second)]
    assert manifests[0] != manifests[1]
    assert artifact_digest(first) == artifact_digest(second)
    assert facts(first) == facts(second)


def test_a_hidden_file_in_a_package_does_not_count(tmp_path: Path) -> None:
    artifact = package(tmp_path)
    before = artifact_digest(artifact), facts(artifact)

    for directory in (artifact.path, next(artifact.path.rglob("weights"))):
        (directory / ".DS_Store").write_bytes(b"Finder was here")

    assert (artifact_digest(artifact), facts(artifact)) == before


def edit_specification(artifact: Artifact, change: Callable[[Any], None]) -> None:
    table = json.loads((artifact.path / "Manifest.json").read_text(encoding="utf-8"))
    file = artifact.path / "Data" / table["itemInfoEntries"][table["rootModelIdentifier"]]["path"]
    model = import_coremltools().proto.Model_pb2.Model()
    model.ParseFromString(file.read_bytes())
    change(model)
    file.write_bytes(model.SerializeToString())


def date(model: Any) -> None:
    model.description.metadata.userDefined["com.github.apple.coremltools.conversion_date"] = "2020-02-29"


def relabel(model: Any) -> None:
    model.description.output[0].name = "other"


@pytest.mark.parametrize(("change", "counts"), [(date, False), (relabel, True)])
def test_of_a_packages_description_the_metadata_alone_do_not_count(
    tmp_path: Path, change: Callable[[Any], None], counts: bool
) -> None:
    artifact = package(tmp_path)

    edit_specification(artifact, change)

    assert (artifact_digest(artifact) != artifact_digest(converted("mlprogram"))) is counts


def test_a_packages_weights_count(tmp_path: Path) -> None:
    artifact = package(tmp_path)
    file = next(artifact.path.rglob("weight.bin"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    assert artifact_digest(artifact) != artifact_digest(converted("mlprogram"))
    assert facts(artifact) == facts(converted("mlprogram"))


def test_the_digest_is_documented(tmp_path: Path) -> None:
    # As the docstring has it: the SHA-256 of a line per part, its name and its own SHA-256.
    artifact = neuralnetwork(tmp_path / "net.mlmodel")
    part = hashlib.sha256(artifact.path.read_bytes()).hexdigest()

    assert artifact_digest(artifact) == hashlib.sha256(f"model {part}\n".encode()).hexdigest()


# What has changed

BEFORE = ArtifactFacts("onnx", "fp32", "opset 17", 14_000, {"Add": 3, "Relu": 1})


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (BEFORE, ()),
        (ArtifactFacts("onnx", "fp32", "opset 17", 14_000, {"Add": 5, "Relu": 1}), ("operations: Add 3 -> 5",)),
        (
            ArtifactFacts("onnx", "fp32", "opset 17", 14_000, {"Add": 3, "Clip": 2}),
            ("operations: Clip none -> 2, Relu 1 -> gone",),
        ),
        (
            ArtifactFacts("mlprogram", "fp16", "specification 6", 7_000, {"Add": 3, "Relu": 1}),
            (
                "format: onnx -> mlprogram",
                "version: opset 17 -> specification 6",
                "precision: fp32 -> fp16",
                "size: 14,000 -> 7,000 bytes",
            ),
        ),
    ],
)
def test_changed_facts(now: ArtifactFacts, told: tuple[str, ...]) -> None:
    assert changed_facts(BEFORE, now) == told
