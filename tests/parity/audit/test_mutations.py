"""Every fault that is put in is there: read from the file with onnx and protobuf, or told by PyTorch or Pillow."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageOps

from conversion import Artifact, Classifier, convert
from conversion.deployed import deployed_module, pixels_to_tensor
from conversion.guards.quiet import import_coremltools
from parity.audit import attributes, geometry, head, labels, preprocessing, shapes, weights
from parity.audit import input as inside
from parity.audit.mutant import Mutant, Original, Sample, spread
from parity.backends import find_backend
from parity.formats.graph import read_graph
from parity.formats.onnx.erf import approximate_erf
from tests.conversion.needs import needs_coreai
from tests.parity.audit.benches import ROUTES, backend_of, made, original, reference
from tests.parity.tiny import LABELS, PREPROCESSING, Tiny, converted, pictures, tiny

PIXELS = np.stack([np.asarray(picture) for picture in pictures()])
MEAN, STD = np.array(PREPROCESSING.mean), np.array(PREPROCESSING.std)
BGR = 30  # FeatureTypes.proto: ImageFeatureType.ColorSpace


def mutants(family: Any, route: str) -> list[Mutant]:
    return list(family.mutants(original(route)))


def one(family: Any, route: str, fault: str, told: str = "") -> Mutant:
    return next(m for m in mutants(family, route) if m.fault == fault and told in m.told and not m.absent)


def predict(artifact: Artifact, pixels: np.ndarray = PIXELS) -> np.ndarray:
    return np.asarray(find_backend(backend_of(artifact)).load(artifact)(pixels).probabilities)


def pytorch(change: Callable[[Tiny], object], pixels: np.ndarray = PIXELS) -> np.ndarray:
    """Let PyTorch answer with a changed module."""
    classifier = tiny()
    change(classifier.module)  # type: ignore[arg-type]
    with torch.inference_mode():
        return np.asarray(deployed_module(classifier)(pixels_to_tensor(pixels)).numpy())


def specification(artifact: Artifact) -> Any:
    return import_coremltools().utils.load_spec(str(artifact.path))


def operations(artifact: Artifact) -> list[Any]:
    function = specification(artifact).mlProgram.functions["main"]
    return list(function.block_specializations[function.opset].operations)


def constant(artifact: Artifact, name: str) -> Any:
    """Find the value of a constant of an ML Program."""
    found = next(o for o in operations(artifact) if o.type == "const" and o.outputs[0].name == name)
    return found.attributes["val"].immediateValue.tensor


# Input


@pytest.mark.parametrize("route", ROUTES)
def test_channels_are_swapped(route: str) -> None:
    artifact = made(one(inside, route, "pre-bgr-swap"), converted(route))

    if artifact.format == "onnx":
        node = onnx.load(str(artifact.path)).graph.node[0]
        assert (node.op_type, node.input[0], [a.i for a in node.attribute]) == ("Gather", "image", [1])
    elif artifact.format != "coreai":
        assert specification(artifact).description.input[0].type.imageType.colorSpace == BGR
    np.testing.assert_allclose(predict(artifact), predict(converted(route), PIXELS[..., ::-1]), atol=1e-5)


# What the network reads for a pixel x of 0..255, in words of the catalogue.
WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "no scale and no bias": lambda x: x,
    "0..1 without mean and std": lambda x: x / 255,
    "scale without its 1/255": lambda x: (x - MEAN) / STD,
    "scale without its 1/std": lambda x: x / 255 - MEAN / STD,
    "one std for all channels": lambda x: (x / 255 - MEAN) / STD.mean(),
    "one scale for all channels": lambda x: x / 255 / STD.mean() - MEAN / STD,
    "bias -mean in": lambda x: x / 255 / STD - MEAN,
    "bias with the wrong sign": lambda x: (x / 255 + MEAN) / STD,
    "bias 255 times": lambda x: x / 255 / STD - 255 * MEAN / STD,
}


@pytest.mark.parametrize(("told", "expected"), WRONG.items())
@pytest.mark.parametrize("route", ROUTES)
def test_the_network_reads_what_the_wrong_normalisation_gives(
    told: str, expected: Callable[[np.ndarray], np.ndarray], route: str
) -> None:
    mutant = next(m for m in mutants(inside, route) if told in m.told)
    if told == "scale without its 1/255":
        # As a formula that is (255 x - mean) / std for the x of 0..1 that PyTorch has.
        expected = lambda x: x / STD - MEAN / STD  # noqa: E731
    module = tiny().module
    with torch.inference_mode():
        wrong = torch.from_numpy(expected(PIXELS.astype(np.float64))).float().permute(0, 3, 1, 2)
        answers = torch.softmax(module(wrong), 1).numpy()

    np.testing.assert_allclose(predict(made(mutant, converted(route))), answers, atol=2e-4)


def test_one_std_is_no_fault_where_there_is_one() -> None:
    given = original("onnx-torchscript")
    classifier = copy.copy(given.reference.classifier)
    object.__setattr__(classifier, "preprocessing", type(PREPROCESSING)(std=(0.5, 0.5, 0.5)))
    changed = type(given)(given.artifact, type(given.reference)(classifier, given.reference.images, None))  # type: ignore[arg-type]

    (found,) = (m for m in inside.mutants(changed) if m.fault == "pre-scalar-std")

    assert found.absent == "all channels have one std"


# Labels


def written_labels(artifact: Artifact) -> tuple[str, ...]:
    """Read the labels of a file."""
    if artifact.format == "onnx":
        notes = {entry.key: entry.value for entry in onnx.load(str(artifact.path)).metadata_props}
        (found,) = (json.loads(note)["labels"] for note in notes.values() if "labels" in note)
        return tuple(found)
    if artifact.format == "coreai":
        return tuple(json.loads((artifact.path / "metadata.json").read_text())["creatorDefinedMetadata"]["labels"])
    if artifact.format == "neuralnetwork":
        return tuple(specification(artifact).neuralNetworkClassifier.stringClassLabels.vector)
    classify = next(o for o in operations(artifact) if o.type == "classify")
    return tuple(constant(artifact, classify.inputs["classes"].arguments[0].name).strings.values)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("fault", "told", "expected"),
    [
        ("lab-order-permuted", "backwards", LABELS[::-1]),
        ("lab-off-by-one-background", "rolled", ("bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ant")),
        ("lab-off-by-one-background", "in front", ("background", *LABELS[:-1])),
        ("lab-count-mismatch", "too many", (*LABELS, "one too many")),
        ("lab-count-mismatch", "lost", LABELS[:-1]),
        ("lab-text-mismatch", "carriage", tuple(f"{label}\r" for label in LABELS)),
        ("lab-duplicate-names", "alike", ("bee", "bee", *LABELS[2:])),
    ],
)
def test_labels_are_other_ones(route: str, fault: str, told: str, expected: tuple[str, ...]) -> None:
    assert written_labels(made(one(labels, route, fault, told), converted(route))) == expected


def test_the_two_labels_that_are_exchanged_are_those_that_are_seen_least() -> None:
    mutant = one(labels, "onnx-torchscript", "lab-order-permuted", "exchanged")
    written = written_labels(made(mutant, converted("onnx-torchscript")))
    apart = [i for i, (was, now) in enumerate(zip(LABELS, written, strict=True)) if was != now]
    seen = pytorch(lambda module: None).max(axis=0)

    assert sorted(apart) == sorted(np.argsort(seen)[:2].tolist())
    assert sorted(written) == sorted(LABELS)


# Head


@pytest.mark.parametrize("route", ROUTES)
def test_softmax_is_missing_or_doubled(route: str) -> None:
    def count(artifact: Artifact) -> int:
        if artifact.format == "onnx":
            return sum(n.op_type == "Softmax" for n in onnx.load(str(artifact.path)).graph.node)
        if artifact.format == "mlprogram":
            return sum(o.type == "softmax" for o in operations(artifact))
        if artifact.format == "coreai":
            return sum(o.type == "softmax" for o in read_graph(artifact).operations)
        layers = specification(artifact).neuralNetworkClassifier.layers
        return sum(layer.WhichOneof("layer") == "softmax" for layer in layers)

    missing = made(one(head, route, "head-softmax-missing"), converted(route))
    twice = made(one(head, route, "head-softmax-twice"), converted(route))
    good = predict(converted(route)).astype(np.float64)
    again = np.exp(good) / np.exp(good).sum(axis=1, keepdims=True)

    assert (count(missing), count(converted(route)), count(twice)) == (0, 1, 2)
    np.testing.assert_allclose(predict(twice), again, atol=1e-5)
    assert predict(missing).max() > 2


@pytest.mark.parametrize("route", ROUTES)
def test_softmax_over_the_images_gives_one_for_all(route: str) -> None:
    answers = predict(made(one(head, route, "head-softmax-axis"), converted(route)))

    np.testing.assert_allclose(answers, np.ones_like(answers))


@pytest.mark.parametrize("route", ROUTES)
def test_logits_are_halved(route: str) -> None:
    def halve(module: Tiny) -> None:
        module.linear.weight.data /= 2
        module.linear.bias.data /= 2

    answers = predict(made(one(head, route, "head-temperature"), converted(route)))

    np.testing.assert_allclose(answers, pytorch(halve), atol=1e-5)


# Attributes


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("eps", [1e-3, 0.0])
def test_a_folded_norm_has_another_epsilon(route: str, eps: float) -> None:
    def change(module: Tiny) -> None:
        module.norm.eps = eps

    mutant = one(attributes, route, "g-norm-eps", f"epsilon {eps:g} in")

    np.testing.assert_allclose(predict(made(mutant, converted(route))), pytorch(change), atol=1e-5)
    assert mutant.converter


@pytest.mark.parametrize("route", ROUTES)
def test_padding_is_moved_by_a_pixel(route: str) -> None:
    artifact = made(one(attributes, route, "g-pad-asymmetric"), converted(route))

    def change(module: Tiny) -> None:
        module.convolution.padding = (0, 0)
        module.convolution.register_forward_pre_hook(lambda _, x: torch.nn.functional.pad(x[0], (0, 2, 0, 2)))

    np.testing.assert_allclose(predict(artifact), pytorch(change), atol=1e-5)
    if artifact.format == "onnx":
        node = next(n for n in onnx.load(str(artifact.path)).graph.node if n.op_type == "Conv")
        assert list(next(a.ints for a in node.attribute if a.name == "pads")) == [0, 0, 2, 2]
    elif artifact.format == "mlprogram":
        convolution = next(o for o in operations(artifact) if o.type == "conv")
        pads = constant(artifact, convolution.inputs["pad"].arguments[0].name).ints.values
        assert list(pads) == [0, 2, 0, 2]
    elif artifact.format == "neuralnetwork":
        layers = specification(artifact).neuralNetworkClassifier.layers
        layer = next(x for x in layers if x.WhichOneof("layer") == "convolution")
        borders = layer.convolution.valid.paddingAmounts.borderAmounts
        assert [(b.startEdgeSize, b.endEdgeSize) for b in borders] == [(0, 2), (0, 2)]


@needs_coreai
@pytest.mark.parametrize(
    ("fault", "told", "change"),
    [
        ("g-gelu-variant", "tanh", lambda module: setattr(module[3], "approximate", "tanh")),
        ("g-attribute", "no upper limit", lambda module: setattr(module[1], "max_val", 1e4)),
    ],
)
def test_settings_of_core_ai_are_changed(
    fault: str, told: str, change: Callable[[Any], None], tmp_path: Path
) -> None:
    def network() -> torch.nn.Module:
        torch.manual_seed(2)
        layers = (torch.nn.ReLU6(), torch.nn.Conv2d(4, 4, 1), torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(1))
        first = torch.nn.Conv2d(3, 4, 3, padding=1)
        last = torch.nn.Linear(4, len(LABELS))
        # So that both limits are reached, and the GELUs differ by what can be seen.
        first.weight.data *= 20
        layers[1].weight.data *= 0.3
        last.weight.data *= 50
        return torch.nn.Sequential(first, *layers, torch.nn.Flatten(), last).eval()

    artifact = convert(Classifier("several", network(), PREPROCESSING, LABELS), "coreai", tmp_path)
    given = Original(artifact, reference())
    mutant = next(m for m in attributes.mutants(given) if m.fault == fault and told in m.told)
    module = network()
    before = predict(artifact)
    change(module)
    changed = Classifier("several", module, PREPROCESSING, LABELS)
    with torch.inference_mode():
        answers = deployed_module(changed)(pixels_to_tensor(PIXELS)).numpy()

    np.testing.assert_allclose(predict(made(mutant, artifact)), answers, atol=1e-5)
    assert np.abs(answers - before).max() > 1e-4


def test_a_pool_gets_ceil_mode() -> None:
    artifact = made(one(attributes, "onnx-torchscript", "g-pool-ceil-shape"), converted("onnx-torchscript"))
    node = next(n for n in onnx.load(str(artifact.path)).graph.node if n.op_type == "AveragePool")

    assert {a.name: a.i for a in node.attribute}["ceil_mode"] == 1


def test_an_erf_becomes_the_tanh_of_the_approximate_gelu() -> None:
    constants = [
        numpy_helper.from_array(np.array(number, np.float32), name)
        for name, number in (("root", 2**0.5), ("one", 1.0), ("half", 0.5))
    ]
    steps = (("Div", "x", "root", "u"), ("Erf", "u", "", "e"), ("Add", "e", "one", "f"), ("Mul", "x", "f", "g"))
    nodes = [helper.make_node(k, [n for n in (a, b) if n], [out], out) for k, a, b, out in steps]
    nodes.append(helper.make_node("Mul", ["g", "half"], ["y"], "y"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [50]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "gelu", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.linspace(-4, 4, 50, dtype=np.float32)

    approximate_erf(model, "e")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    expected = torch.nn.functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=2e-6)


@pytest.mark.parametrize("fault", ["g-gelu-variant", "g-avgpool-include-pad", "g-resize-antialias-dropped"])
def test_what_a_network_has_no_place_for_is_said(fault: str) -> None:
    (found,) = (m for m in mutants(attributes, "onnx-torchscript") if m.fault == fault)

    assert found.edit is None
    assert found.absent


# Weights


def stored(artifact: Artifact, route: str, place: str) -> np.ndarray:
    """Read a weight of the convolution or of the linear layer of an ONNX file."""
    graph = onnx.load(str(artifact.path)).graph
    node = next(n for n in graph.node if n.op_type == place)
    tensor = next(t for t in graph.initializer if t.name == node.input[1])
    return np.array(numpy_helper.to_array(tensor))


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_kernels_hold_as_many_numbers_as_the_bits_allow(bits: int) -> None:
    route = "onnx-torchscript"
    mutant = one(weights, route, "p-weight-quant", f"{bits} bits")
    before, now = (stored(a, route, "Gemm") for a in (converted(route), made(mutant, converted(route))))

    assert len(np.unique(now)) <= 2**bits - 1
    assert len(np.unique(now)) > 2 ** (bits - 2)
    assert np.abs(now - before).max() <= 0.51 * np.abs(before).max() / (2 ** (bits - 1) - 1)


def test_weights_are_rounded_to_fp16() -> None:
    route = "onnx-torchscript"
    now = stored(made(one(weights, route, "p-fp16-drift"), converted(route)), route, "Gemm")
    before = stored(converted(route), route, "Gemm")

    np.testing.assert_array_equal(now, before.astype(np.float16).astype(np.float32))
    assert not np.array_equal(now, before)
    (absent,) = (m for m in mutants(weights, "mlprogram") if m.fault == "p-fp16-drift")
    assert absent.absent == "the route computes in fp16 anyway"


@pytest.mark.parametrize("route", ROUTES)
def test_the_outputs_of_a_layer_are_rolled(route: str) -> None:
    def change(module: Tiny) -> None:
        norm, conv = module.norm, module.convolution
        # The fold of the file keeps its bias: the rows of the kernel alone move, with their scale.
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator]
        bias = (conv.bias - norm.running_mean) * scale + norm.bias  # type: ignore[operator]
        kernel = torch.roll(conv.weight * scale.reshape(-1, 1, 1, 1), 1, 0)
        conv.weight.data, conv.bias.data = kernel.detach(), bias.detach()  # type: ignore[union-attr]
        module.norm = torch.nn.Identity()  # type: ignore[assignment]

    answers = predict(made(one(weights, route, "wt-permuted"), converted(route)))

    np.testing.assert_allclose(answers, pytorch(change), atol=1e-5)


@pytest.mark.parametrize("route", ROUTES)
def test_mean_and_variance_are_exchanged_in_the_fold(route: str) -> None:
    """The mean of the tiny classifier's norm is 0, so its absolute value as a variance leaves epsilon alone."""

    def change(module: Tiny) -> None:
        module.norm.running_mean, module.norm.running_var = (
            module.norm.running_var,
            module.norm.running_mean.abs(),  # type: ignore[union-attr]
        )

    answers = predict(made(one(weights, route, "wt-bn-fold"), converted(route)))

    np.testing.assert_allclose(answers, pytorch(change), atol=2e-3)


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_layer_that_was_not_loaded_holds_other_numbers(place: str) -> None:
    route = "onnx-torchscript"
    mutant = next(m for m in mutants(weights, route) if (m.fault, m.place) == ("wt-not-loaded", place))
    kind, other = ("Conv", "Gemm") if place == "first" else ("Gemm", "Conv")
    artifact = made(mutant, converted(route))

    before, now = (stored(a, route, kind).ravel() for a in (converted(route), artifact))
    assert abs(np.corrcoef(before, now)[0, 1]) < 0.3
    assert now.std() == pytest.approx(before.std(), rel=0.2)
    np.testing.assert_array_equal(stored(artifact, route, other), stored(converted(route), route, other))


def test_mutants_are_the_same_every_time() -> None:
    first, second = (mutants(weights, "onnx-torchscript") for _ in range(2))
    mutant, again = first[1], second[1]

    assert [(m.fault, m.place, m.told) for m in first] == [(m.fault, m.place, m.told) for m in second]
    np.testing.assert_array_equal(
        predict(made(mutant, converted("onnx-torchscript"))), predict(made(again, converted("onnx-torchscript")))
    )


# Geometry and preprocessing


def sample(*images: Image.Image) -> Sample:
    pixels = np.stack([np.asarray(image.convert("RGB").resize((32, 32))) for image in images])
    return Sample(tuple(str(i) for i in range(len(images))), pixels, images)


def test_pixels_are_mirrored_turned_and_shifted() -> None:
    given = sample(*pictures()[:1])
    x = given.pixels[0]
    found = {m.told: m.pixels(given)[0] for m in mutants(geometry, "onnx-torchscript") if m.pixels}

    np.testing.assert_array_equal(found["pixels mirrored left to right"], np.fliplr(x))
    np.testing.assert_array_equal(found["pixels turned upside down"], np.rot90(x, 2))
    np.testing.assert_array_equal(found["pixels turned by a quarter"], np.rot90(x))
    shifted = found["pixels shifted by one to the right and down"]
    np.testing.assert_array_equal(shifted[1:, 1:], x[:-1, :-1])
    np.testing.assert_array_equal(shifted[0, 1:], x[0, :-1])


def grain(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))


def changed(told: str, image: Image.Image) -> np.ndarray:
    mutant = next(m for m in mutants(preprocessing, "onnx-torchscript") if told in m.told)
    assert mutant.pixels is not None
    return np.asarray(mutant.pixels(sample(image))[0])


def test_pictures_are_resized_by_another_filter() -> None:
    image = grain(100, 100)

    for name, pillow in (("nearest", 0), ("lanczos", 1), ("bicubic", 3)):
        expected = np.asarray(image.resize((32, 32), Image.Resampling(pillow)))
        np.testing.assert_array_equal(changed(f"by {name}", image), expected)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    plain = torch.nn.functional.interpolate(tensor, size=(32, 32), mode="bilinear", antialias=False)
    np.testing.assert_array_equal(changed("antialiasing", image), plain[0].permute(1, 2, 0).round().numpy())


def test_pictures_are_cropped_or_get_bars() -> None:
    image = grain(128, 64)

    cropped = image.resize((64, 32), Image.Resampling.BILINEAR).crop((16, 0, 48, 32))
    np.testing.assert_array_equal(changed("centerCrop", image), np.asarray(cropped))
    barred = changed("scaleFit", image)
    assert not barred[:8].any()
    assert not barred[24:].any()
    np.testing.assert_array_equal(barred[8:24], np.asarray(image.resize((32, 16), Image.Resampling.BILINEAR)))


def test_the_orientation_tag_is_ignored() -> None:
    image = grain(32, 32)
    image.getexif()[0x0112] = 6

    np.testing.assert_array_equal(changed("EXIF", image), np.asarray(image))
    assert not np.array_equal(np.asarray(image), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize(("over", "level"), [("white", 255), ("black", 0)])
def test_transparency_is_blended(over: str, level: int) -> None:
    image = Image.new("RGBA", (32, 32), (100, 50, 200, 51))  # a fifth of the colour is there

    expected = [round(0.2 * colour + 0.8 * level) for colour in (100, 50, 200)]
    assert np.abs(changed(f"over {over}", image)[0, 0].astype(int) - expected).max() <= 1


def test_pictures_are_decoded_as_bgr() -> None:
    image = grain(32, 32)

    np.testing.assert_array_equal(changed("BGR", image), np.asarray(image)[..., ::-1])


# Shapes


def test_a_shape_is_baked_in_where_others_are_asked_for() -> None:
    given = original("onnx-torchscript")
    asked = type(given)(given.artifact, given.reference, batches=True)
    mutant = next(m for m in shapes.mutants(asked) if m.fault == "s-batch-baked")
    artifact = made(mutant, given.artifact)
    session = onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])
    images = PIXELS.transpose(0, 3, 1, 2).astype(np.float32)

    assert len(session.run(None, {"image": images[:1]})[0]) == 1
    with pytest.raises(Exception, match="Reshape"):
        session.run(None, {"image": images[:2]})


def test_who_asks_for_one_image_of_one_size_has_no_baked_shapes() -> None:
    found = mutants(shapes, "mlprogram")

    assert [m.fault for m in found] == ["s-batch-baked", "s-flexible-shape"]
    assert all(m.absent for m in found)


def test_first_middle_and_last_are_chosen_once_each() -> None:
    chosen = {count: list(spread(range(count))) for count in range(6)}

    assert chosen[0] == []
    assert chosen[1] == [("first", 0)]
    assert chosen[2] == [("first", 0), ("last", 1)]
    assert chosen[3] == [("first", 0), ("middle", 1), ("last", 2)]
    assert chosen[5] == [("first", 0), ("middle", 2), ("last", 4)]


@pytest.mark.parametrize("route", ROUTES)
def test_every_family_names_what_it_can_put_in(route: str) -> None:
    families = (inside, preprocessing, geometry, labels, head, attributes, weights, shapes)
    for family in families:
        assert {m.fault for m in mutants(family, route)} == set(family.FAULTS)
    found = list(itertools.chain.from_iterable(mutants(family, route) for family in families))
    assert all(sum(map(bool, (m.edit, m.pixels, m.absent))) == 1 for m in found)
