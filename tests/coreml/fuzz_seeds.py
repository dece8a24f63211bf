"""The small valid models that fuzz.py damages: each function saves one and returns inputs that it takes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conversion.guards.quiet import chatter_to, import_coremltools

ct = import_coremltools()
with chatter_to():
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import types
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder


def make_seeds() -> dict[str, tuple[dict[str, bytes], Mapping[str, Any]]]:
    """Build the models: name -> their files by path, and inputs."""
    made: dict[str, tuple[dict[str, bytes], Mapping[str, Any]]] = {}
    makers: tuple[Callable[[Path], Mapping[str, Any]], ...] = (network, program, stateful, classifier, pipeline)
    for make in makers:
        with tempfile.TemporaryDirectory() as directory, chatter_to():
            inputs = make(Path(directory))
            paths = sorted(path for path in Path(directory).rglob("*") if path.is_file())
            files = {str(path.relative_to(directory)): _same_everywhere(path) for path in paths}
            made[make.__name__] = files, inputs
    return made


def _same_everywhere(path: Path) -> bytes:
    """Read a file without what tells one conversion from another: dates, versions, random identifiers."""
    content = path.read_bytes()
    if path.suffix == ".mlmodel":
        specification = ct.proto.Model_pb2.Model.FromString(content)
        specification.description.ClearField("metadata")
        if specification.WhichOneof("Type") == "mlProgram":
            specification.mlProgram.attributes.clear()
        return bytes(specification.SerializeToString(deterministic=True))
    if path.name == "Manifest.json":
        manifest = json.loads(content)
        entries = sorted(manifest["itemInfoEntries"].values(), key=lambda entry: str(entry["path"]))
        numbered = {f"{number:08}-0000-0000-0000-000000000000": entry for number, entry in enumerate(entries)}
        root = next(name for name, entry in numbered.items() if str(entry["path"]).endswith(".mlmodel"))
        manifest |= {"itemInfoEntries": numbered, "rootModelIdentifier": root}
        return json.dumps(manifest, indent=4, sort_keys=True).encode()
    return content


def _network(source: str, shape: tuple[int, ...], target: str) -> Any:
    return NeuralNetworkBuilder(
        [(source, datatypes.Array(*shape))], [(target, None)], disable_rank5_shape_mapping=True
    )


def _inside(network: Any) -> Any:
    return NeuralNetworkBuilder(nn_spec=network, disable_rank5_shape_mapping=True)


def network(directory: Path) -> Mapping[str, Any]:
    """Save a NeuralNetwork: convolution, pooling, inner product, softmax, a loop and a branch."""
    generator = np.random.default_rng(0)
    b = _network("x", (1, 2, 4, 4), "y")
    kernel = generator.normal(size=(3, 3, 2, 4)).astype(np.float32)
    bias = np.zeros(4, np.float32)
    b.add_convolution("conv", 2, 4, 3, 3, 1, 1, "same", 1, kernel, bias, True, input_name="x", output_name="c")
    b.add_activation("relu", "RELU", "c", "r")
    b.add_pooling("pool", 2, 2, 2, 2, "MAX", "VALID", "r", "p")
    b.add_flatten_to_2d("flat", "p", "f", axis=1)
    dense = generator.normal(size=(3, 16)).astype(np.float32)
    b.add_inner_product("dense", dense, None, 16, 3, False, "f", "d")
    body = _inside(b.add_loop("loop", max_iterations=3).loop.bodyNetwork)
    body.add_activation("halve", "LINEAR", "d", "h", params=[0.5, 0.1])
    body.add_copy("again", "h", "d")
    b.add_reduce_max("most", "d", "m", axes=[0, 1], keepdims=False)
    branch = b.add_branch("if", "m").branch
    for kind, side in (("RELU", branch.ifBranch), ("TANH", branch.elseBranch)):
        _inside(side).add_activation(kind, kind, "d", "e")
    b.add_softmax_nd("softmax", "e", "y", axis=-1)
    (directory / "network.mlmodel").write_bytes(b.spec.SerializeToString(deterministic=True))
    return {"x": generator.normal(size=(1, 2, 4, 4)).astype(np.float32)}


def program(directory: Path) -> Mapping[str, Any]:
    """Save an ML Program in fp16: convolution, pooling, reshape, tile, concat, a condition, a loop, a list."""
    kernel = np.random.default_rng(1).normal(size=(4, 2, 3, 3)).astype(np.float32)

    def body(x: Any, y: Any) -> Any:
        z = Builder.relu(x=Builder.conv(x=x, weight=kernel, pad_type="same"))
        z = Builder.avg_pool(x=z, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
        z = Builder.concat(values=[Builder.reshape(x=z, shape=[1, 16]), Builder.tile(x=y, reps=[1, 4])], axis=1)
        total = Builder.reduce_sum(x=z, axes=[0, 1], keep_dims=False)
        w = Builder.cond(
            pred=Builder.greater(x=total, y=np.float32(0)),
            _true_fn=lambda: Builder.mul(x=z, y=np.float32(0.5)),
            _false_fn=lambda: Builder.sub(x=z, y=np.float32(1)),
        )

        def turn(i: Any, ls: Any) -> Any:
            element = Builder.reduce_mean(x=w, axes=[1], keep_dims=False)
            return Builder.add(x=i, y=np.int32(1)), Builder.list_write(ls=ls, index=i, value=element)

        _, ls = Builder.while_loop(
            _cond=lambda i, ls: Builder.less(x=i, y=np.int32(3)),
            _body=turn,
            loop_vars=(np.int32(0), Builder.make_list(init_length=1, elem_shape=(1,))),
        )
        return Builder.relu(x=w, name="z"), Builder.list_gather(ls=ls, indices=[0, 2], name="means")

    specs = [Builder.TensorSpec(shape=(1, 2, 4, 4)), Builder.TensorSpec(shape=(1, 3))]
    _save(Builder.program(input_specs=specs, opset_version=ct.target.iOS16)(body), directory)
    generator = np.random.default_rng(2)
    return {"x": generator.normal(size=(1, 2, 4, 4)), "y": generator.normal(size=(1, 3))}


def stateful(directory: Path) -> Mapping[str, Any]:
    """Save an ML Program with a state, an LSTM and compressed weights."""
    generator = np.random.default_rng(3)
    codes = generator.integers(-128, 128, (12, 3)).astype(np.int8)
    table = np.linspace(-1, 1, 4, dtype=np.float16).reshape(2, 2)

    def body(s: Any, x: Any) -> Any:
        weight = Builder.constexpr_blockwise_shift_scale(data=codes, scale=np.full((12, 1), 0.01, np.float16))
        bias = np.zeros(12, np.float16)
        dense = Builder.linear(x=x, weight=weight, bias=bias)
        zero, recurrent = np.zeros((1, 2), np.float16), generator.normal(size=(8, 2)).astype(np.float16)
        long, _, _ = Builder.lstm(
            x=Builder.expand_dims(x=dense, axes=[0]),
            initial_h=zero,
            initial_c=zero,
            weight_ih=generator.normal(size=(8, 12)).astype(np.float16),
            weight_hh=recurrent,
            output_sequence=True,
        )
        before = Builder.read_state(input=s)
        after = Builder.slice_update(x=before, update=Builder.squeeze(x=long, axes=[0]), begin=[1, 0], end=[2, 2])
        return Builder.coreml_update_state(state=s, value=Builder.add(x=after, y=table))

    specs = [Builder.StateTensorSpec((2, 2), dtype=types.fp16), Builder.TensorSpec((1, 3), dtype=types.fp16)]
    _save(
        Builder.program(input_specs=specs, opset_version=ct.target.iOS18)(body), directory, target=ct.target.iOS18
    )
    return {"x": generator.normal(size=(1, 3))}


def classifier(directory: Path) -> Mapping[str, Any]:
    """Save an ML Program that classifies an image of a flexible size."""
    from PIL import Image

    scale = np.linspace(0.5, 1.5, 12, dtype=np.float32).reshape(1, 12, 1, 1)

    def body(image: Any) -> Any:
        x = Builder.concat(values=[image] * 4, axis=1)
        x = Builder.reduce_mean(x=Builder.mul(x=x, y=scale), axes=[2, 3], keep_dims=False)
        return Builder.softmax(x=Builder.slice_by_size(x=x, begin=[0, 0], size=[1, 3]), axis=1)

    specs = [Builder.TensorSpec(shape=(1, 3, 4, 6))]
    made = Builder.program(input_specs=specs, opset_version=ct.target.iOS16)(body)
    labels = ct.ClassifierConfig(["red", "green", "blue"])
    _save(made, directory, inputs=[ct.ImageType("image", shape=(1, 3, 4, 6))], classifier_config=labels)
    return {"image": Image.new("RGB", (6, 4), (200, 100, 50))}


def _save(made: Any, directory: Path, target: Any = ct.target.iOS16, **arguments: Any) -> None:
    model = ct.convert(made, minimum_deployment_target=target, skip_model_load=True, **arguments)
    model.save(str(directory / "model.mlpackage"))


def pipeline(directory: Path) -> Mapping[str, Any]:
    """Save a pipeline of two networks with flexible shapes, the first input with a default."""
    specification = ct.proto.Model_pb2.Model(specificationVersion=7)
    for source, target in (("x", "y"), ("y", "z")):
        b = _network(source, (6,), target)
        b.add_activation("linear", "LINEAR", source, target, params=[2, 1])
        b.spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=1, upperBound=8)
        specification.pipeline.models.add().CopyFrom(b.spec)
    first, last = specification.pipeline.models
    first.description.input[0].type.isOptional = True
    first.description.input[0].type.multiArrayType.floatDefaultValue = 2
    specification.description.input.add().CopyFrom(first.description.input[0])
    specification.description.output.add().CopyFrom(last.description.output[0])
    (directory / "pipeline.mlmodel").write_bytes(specification.SerializeToString(deterministic=True))
    return {}
