from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion import ROUTES, Artifact, ConversionError, Preprocessing, convert, open_artifact
from conversion.guards.quiet import chatter_to, import_coremltools
from conversion.shapes import coreml_input_shapes, input_size
from tests.conversion.classifiers import tiny

Converted = Callable[[str], Artifact]


def refusal(path: str | Path) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(ConversionError) as caught:
        open_artifact(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


# Our own files


@pytest.mark.parametrize("route", ROUTES)
def test_a_file_says_all_that_convert_knew(route: str, converted: Converted) -> None:
    artifact = converted(route)

    assert open_artifact(artifact.path) == artifact
    assert open_artifact(str(artifact.path)) == artifact


@pytest.mark.parametrize("route", ROUTES)
def test_a_copy_elsewhere_still_knows_its_provenance(route: str, converted: Converted, tmp_path: Path) -> None:
    artifact = converted(route)
    path = tmp_path / f"copy{artifact.path.suffix}"
    (shutil.copytree if artifact.path.is_dir() else shutil.copyfile)(artifact.path, path)

    copy = open_artifact(path)

    assert (copy.route, copy.format, copy.precision) == (route, artifact.format, artifact.precision)
    assert copy.provenance == artifact.provenance
    assert copy.intermediate is None


def test_opening_leaves_the_file_as_it_is(converted: Converted) -> None:
    package = converted("mlprogram").path

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}

    before = content()
    open_artifact(package)

    assert content() == before


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32", "onnx-coreml"])
def test_the_size_of_the_input_is_height_and_width(route: str, tmp_path: Path) -> None:
    classifier = tiny(preprocessing=Preprocessing(size=(24, 40)))

    assert input_size(convert(classifier, route, tmp_path)) == (24, 40)


# Foreign files


def onnx_file(
    path: Path, shape: tuple[int | str, ...] = (1, 3, 4, 6), kind: type = np.float32, notes: Any = ()
) -> Path:
    """Write an ONNX model that adds one constant to its input."""
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "one"], ["y"])],
        "graph",
        [onnx.helper.make_tensor_value_info("x", element, shape)],
        [onnx.helper.make_tensor_value_info("y", element, shape)],
        [onnx.numpy_helper.from_array(np.ones(1, kind), "one")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.helper.set_model_props(model, dict(notes))
    onnx.save(model, str(path))
    return path


def mlprogram_file(path: Path, body: Callable[..., Any] | None = None, precision: str = "FLOAT32") -> Path:
    """Write an ML Program of one function of x [1, 12]; without `body` it multiplies with 144 weights."""
    ct = import_coremltools()
    with chatter_to():
        from coremltools.converters.mil import Builder as mb  # noqa: N813

        def multiplied(x: Any) -> Any:
            return mb.linear(x=x, weight=np.arange(144, dtype=np.float32).reshape(12, 12))

        function = body or multiplied
        target = ct.target.iOS16
        program = mb.program(input_specs=[mb.TensorSpec(shape=(1, 12))], opset_version=target)(
            lambda x: function(x)
        )
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=target,
            compute_precision=ct.precision[precision],
            skip_model_load=True,
        )
        model.save(str(path))
    return path


def neuralnetwork_file(path: Path, shape: tuple[int, ...] = (3, 4, 6)) -> Path:
    """Write a NeuralNetwork with a multi-array input and one ReLU."""
    ct = import_coremltools()
    array = ct.models.datatypes.Array(*shape)
    builder = ct.models.neural_network.NeuralNetworkBuilder([("x", array)], [("y", array)])
    builder.add_activation("relu", "RELU", "x", "y")
    ct.utils.save_spec(builder.spec, str(path))
    return path


def test_foreign_onnx(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "a.onnx")

    assert open_artifact(path) == Artifact(path, "onnx", "fp32", "-", None, None)
    assert input_size(open_artifact(path)) == (4, 6)


def test_foreign_onnx_in_fp16(tmp_path: Path) -> None:
    assert open_artifact(onnx_file(tmp_path / "half.onnx", kind=np.float16)).precision == "fp16"


@pytest.mark.parametrize("note", ["", "made by somebody else", "[]", '{"model": "x"}'])
def test_a_foreign_note_under_our_key_is_no_provenance(note: str, tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "a.onnx", notes={"coreml-parity": note, "author": "somebody"})

    assert (open_artifact(path).route, open_artifact(path).provenance) == ("-", None)


@pytest.mark.parametrize("shape", [(1, 3, "height", "width"), (1, 3, 0, 6), (-1, 3, -1, -1), (1, 12)])
def test_an_open_input_size_is_none(shape: tuple[int | str, ...], tmp_path: Path) -> None:
    assert input_size(open_artifact(onnx_file(tmp_path / "a.onnx", shape))) is None


def test_a_model_without_an_input_has_no_size(tmp_path: Path) -> None:
    model = onnx.load(str(onnx_file(tmp_path / "a.onnx")))
    model.graph.ClearField("input")
    onnx.save(model, str(tmp_path / "a.onnx"))

    assert input_size(open_artifact(tmp_path / "a.onnx")) is None


@pytest.mark.parametrize(("precision", "expected"), [("FLOAT16", "fp16"), ("FLOAT32", "fp32")])
def test_foreign_ml_program(precision: str, expected: str, tmp_path: Path) -> None:
    path = mlprogram_file(tmp_path / "a.mlpackage", precision=precision)

    assert open_artifact(path) == Artifact(path, "mlprogram", expected, "-", None, None)


def test_an_ml_program_that_computes_in_fp16_inside_a_branch_is_fp16(tmp_path: Path) -> None:
    import_coremltools()
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    def branching(x: Any) -> Any:
        def positive() -> Any:
            half = mb.cast(x=x, dtype="fp16")
            return mb.cast(x=mb.exp(x=half), dtype="fp32")

        total = mb.reduce_sum(x=x, axes=[0, 1])
        return mb.cond(pred=mb.greater(x=total, y=0.0), _true_fn=positive, _false_fn=lambda: mb.abs(x=x))

    assert open_artifact(mlprogram_file(tmp_path / "a.mlpackage", branching)).precision == "fp16"


def test_fp16_that_is_only_stored_is_not_computed(converted: Converted, tmp_path: Path) -> None:
    package = Path(shutil.copytree(converted("mlprogram-fp32").path, tmp_path / "a.mlpackage"))
    spec = import_coremltools().utils.load_spec(str(package))
    main = spec.mlProgram.functions["main"]
    operations = main.block_specializations[main.opset].operations
    stored = operations.add()
    stored.CopyFrom(next(operation for operation in operations if operation.type == "const"))
    stored.outputs[0].name = "stored"
    stored.outputs[0].type.tensorType.dataType = 10  # MIL.proto: DataType.FLOAT16
    (package / "Data" / "com.apple.CoreML" / "model.mlmodel").write_bytes(spec.SerializeToString())

    assert open_artifact(package).precision == "fp32"


def test_foreign_neural_network(tmp_path: Path) -> None:
    path = neuralnetwork_file(tmp_path / "a.mlmodel")

    assert open_artifact(path) == Artifact(path, "neuralnetwork", "fp32", "-", None, None)
    assert input_size(open_artifact(path)) == (4, 6)


def test_the_onnx_file_beside_a_core_ml_file_is_what_it_went_through(tmp_path: Path) -> None:
    neuralnetwork_file(tmp_path / "a.mlmodel")
    onnx_file(tmp_path / "a.onnx")
    onnx_file(tmp_path / "b.onnx")

    assert open_artifact(tmp_path / "a.mlmodel").intermediate == tmp_path / "a.onnx"
    assert open_artifact(tmp_path / "a.onnx").intermediate is None


def test_core_ml_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    spec = import_coremltools().proto.Model_pb2.Model(specificationVersion=1)
    spec.identity.SetInParent()
    (tmp_path / "a.mlmodel").write_bytes(spec.SerializeToString())

    message = refusal(tmp_path / "a.mlmodel")

    assert "of the kind identity" in message
    assert "mlProgram" in message
    assert "neuralNetworkClassifier" in message


# Files that cannot be read


def test_a_missing_file(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none.onnx")

    assert "no such file" in message
    assert ".mlpackage" in message


@pytest.mark.parametrize(
    ("name", "ending"), [("model.tflite", ".tflite"), ("model", "(none)"), (".onnx", "(none)")]
)
def test_an_unknown_ending(name: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")

    message = refusal(tmp_path / name)

    assert f"the ending {ending} is none of .onnx, .mlmodel, .mlpackage" in message


@pytest.mark.parametrize("ending", [".onnx", ".mlmodel", ".mlpackage"])
@pytest.mark.parametrize("content", [b"", b"hello\nworld\n", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04 a zip file"])
def test_a_file_of_something_else(ending: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    path.write_bytes(content)

    assert "again" in refusal(path)


@pytest.mark.parametrize("ending", [".onnx", ".mlmodel", ".mlpackage"])
def test_an_empty_directory(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    path.mkdir()

    assert "again" in refusal(path)
    assert list(path.iterdir()) == []


@pytest.fixture(scope="session")
def cut_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


def metadata_size(path: Path) -> int:
    """Count the bytes at the end of an ONNX file that are its metadata."""
    model = onnx.load(str(path))
    model.ClearField("metadata_props")
    return path.stat().st_size - len(model.SerializeToString())


def test_an_onnx_file_that_was_cut_before_its_metadata(converted: Converted, tmp_path: Path) -> None:
    whole = converted("onnx").path
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole.read_bytes()[: -metadata_size(whole)])

    assert open_artifact(path) == Artifact(path, "onnx", "fp32")


@given(data=st.data())
@pytest.mark.parametrize("route", ["onnx", "onnx-coreml"])
def test_a_truncated_file_is_refused(
    data: st.DataObject, route: str, converted: Converted, cut_files: Path
) -> None:
    whole = converted(route).path
    content = whole.read_bytes()
    # From the end, where the parts are small and a cut may fall between two of them.
    kept = len(content) - data.draw(st.integers(1, len(content)))
    path = cut_files / f"cut{whole.suffix}"
    path.write_bytes(content[:kept])

    if whole.suffix == ".onnx" and kept == len(content) - metadata_size(whole):
        # The one cut that leaves a whole model, of which nothing is known.
        assert open_artifact(path) == Artifact(path, "onnx", "fp32")
    else:
        refusal(path)


@pytest.mark.parametrize(("text", "told"), [("\n  first\nsecond", "(first)"), ("", "(ValueError)")])
def test_a_reader_of_many_words_or_none_is_quoted_with_one_line(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError(text)

    monkeypatch.setattr(onnx, "load", fail)
    monkeypatch.setattr("conversion.artifact.read_specification", fail)
    for name in ("a.onnx", "a.mlmodel"):
        (tmp_path / name).write_bytes(b"")

        assert told in refusal(tmp_path / name)


def test_an_onnx_file_that_was_cut_behind_its_graph(tmp_path: Path) -> None:
    model = onnx.load(str(onnx_file(tmp_path / "a.onnx")))
    model.ClearField("opset_import")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())

    assert "truncated" in refusal(tmp_path / "a.onnx")


def test_a_size_below_every_open_one_is_refused(tmp_path: Path) -> None:
    assert "`x` has the shape [1, 3, -7, 6]" in refusal(onnx_file(tmp_path / "a.onnx", (1, 3, -7, 6)))


def test_an_onnx_file_without_the_weights_beside_it(tmp_path: Path, converted: Converted) -> None:
    model = onnx.load(str(converted("onnx-torchscript").path))
    onnx.save(model, str(tmp_path / "a.onnx"), save_as_external_data=True, location="a.data", size_threshold=0)
    assert open_artifact(tmp_path / "a.onnx").provenance == converted("onnx-torchscript").provenance

    (tmp_path / "a.data").unlink()

    assert "a.data" in refusal(tmp_path / "a.onnx")


@pytest.fixture
def package(tmp_path: Path, converted: Converted) -> Path:
    return Path(shutil.copytree(converted("mlprogram").path, tmp_path / "tiny.mlpackage"))


WEIGHTS = "Data/com.apple.CoreML/weights"


@pytest.mark.parametrize("part", [WEIGHTS, f"{WEIGHTS}/weight.bin", "Data/com.apple.CoreML/model.mlmodel"])
def test_a_package_with_a_missing_part(part: str, package: Path) -> None:
    missing = package / part
    shutil.rmtree(missing) if missing.is_dir() else missing.unlink()

    message = refusal(package)

    assert str(missing) in message
    assert "missing" in message
    assert "copy the whole .mlpackage directory" in message


def test_a_package_without_a_manifest(package: Path) -> None:
    (package / "Manifest.json").unlink()

    assert "Manifest.json" in refusal(package)
    assert not (package / "Manifest.json").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[]", '{"itemInfoEntries": []}', '{"itemInfoEntries": {"a": 1}}']
)
def test_a_package_with_a_broken_manifest(content: str, package: Path) -> None:
    (package / "Manifest.json").write_text(content, encoding="utf-8")

    assert "its Manifest.json cannot be understood" in refusal(package)


def test_a_package_with_a_truncated_model(package: Path) -> None:
    model = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    os.truncate(model, model.stat().st_size // 2)

    assert "only a part of one" in refusal(package)


def test_an_ml_program_torn_out_of_its_package(package: Path, tmp_path: Path) -> None:
    shutil.copyfile(package / "Data" / "com.apple.CoreML" / "model.mlmodel", tmp_path / "model.mlmodel")

    assert str(tmp_path / "weights" / "weight.bin") in refusal(tmp_path / "model.mlmodel")


def test_the_size_that_a_file_declares_is_its_own_whatever_else_it_takes() -> None:
    from coremltools.proto import FeatureTypes_pb2, Model_pb2

    feature = Model_pb2.FeatureDescription(name="image")
    picture = feature.type.imageType
    picture.height, picture.width = 24, 40
    picture.colorSpace = FeatureTypes_pb2.ImageFeatureType.RGB
    picture.imageSizeRange.heightRange.lowerBound, picture.imageSizeRange.heightRange.upperBound = 8, -1
    picture.imageSizeRange.widthRange.lowerBound, picture.imageSizeRange.widthRange.upperBound = 8, 80

    shapes = coreml_input_shapes(feature)

    assert shapes.size == (24, 40)
    assert str(shapes) == "[1, 3, 8 or more, 8..80]"
