"""A checkout without `git lfs pull`: whatever is asked for is told in one line, wherever a pointer stands."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion import ConversionError, convert, open_artifact
from conversion.files.git_lfs import tell_pointer
from conversion.images import find_images, load_image
from conversion.labels import read_labels
from conversion.sources.torchvision_models import torchvision_classifier
from tests.conversion.classifiers import tiny

PULL = "run `git lfs pull` in its repository"


def pointer_to(content: bytes) -> bytes:
    """Write a pointer as its specification has it."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


def become_pointer(path: Path) -> Path:
    path.write_bytes(pointer_to(path.read_bytes()))
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(tiny(), "mlprogram", tmp_path_factory.mktemp("package")).path


def refused(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        open_artifact(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert line.endswith(PULL)
    return line


@pytest.mark.parametrize("name", ["net.onnx", "net.mlmodel", "net.mlpackage", "net.pth", "net.bin"])
def test_in_the_place_of_a_model(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pointer_to(bytes(14_000_000)))

    # The lines of a pointer have 43, 76 and 14 bytes.
    assert "a Git LFS pointer of 133 bytes in the place of the file itself of 14,000,000 bytes" in refused(
        tmp_path / name
    )


@pytest.mark.parametrize(
    "part",
    ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"],
)
def test_in_the_place_of_a_part_of_a_package(part: str, package: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(package, tmp_path / "net.mlpackage"))
    become_pointer(copied / part)

    assert f"{part} in it is a Git LFS pointer" in refused(copied)


def test_in_the_place_of_weights_beside_a_model_of_a_package(package: Path, tmp_path: Path) -> None:
    inside = package / "Data" / "com.apple.CoreML"
    copied = Path(shutil.copytree(inside, tmp_path / "inside"))
    become_pointer(copied / "weights" / "weight.bin")

    assert "weight.bin are a Git LFS pointer" in refused(copied / "model.mlmodel")


def external_onnx(directory: Path) -> Path:
    """Write a model whose weights stand in a file of their own."""
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "weight")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["image", "weight"], ["answer"])],
        "net",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, [1, 4, 8, 8])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    path = directory / "net.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="net.weights", size_threshold=0)
    return path


def test_in_the_place_of_weights_beside_an_onnx_file(tmp_path: Path) -> None:
    path = external_onnx(tmp_path)
    assert open_artifact(path).precision == "fp32"

    become_pointer(tmp_path / "net.weights")

    assert f"its weights {tmp_path / 'net.weights'} are a Git LFS pointer" in refused(path)


def test_weights_beside_an_onnx_file_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = external_onnx(tmp_path)
    (tmp_path / "net.weights").unlink()

    with pytest.raises(ConversionError) as caught:
        open_artifact(path)

    weights = tmp_path / "net.weights"
    assert (
        str(caught.value) == f"{path}: its weights {weights} are missing; copy them beside it, or export it again"
    )


def test_an_intermediate_that_is_one_is_not_there(package: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(package, tmp_path / "net.mlpackage"))
    (tmp_path / "net.onnx").write_bytes(pointer_to(b"onnx"))

    assert open_artifact(copied).intermediate is None


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.ppm", "photo"])
def test_in_the_place_of_an_image(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(pointer_to(b"an image"))

    assert find_images([path], tmp_path) == (path,)
    with pytest.raises(ConversionError) as caught:
        load_image(path)

    assert str(caught.value).startswith(f"{path} is a Git LFS pointer of ")
    assert str(caught.value).endswith(PULL)


@pytest.mark.parametrize("name", ["labels.txt", "labels.json"])
def test_in_the_place_of_labels(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(pointer_to(b"cat\ndog\n"))

    with pytest.raises(ConversionError, match=f"label file .*{name} is a Git LFS pointer .*{PULL}"):
        read_labels(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_in_the_place_of_weights(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(pointer_to(b"weights"))

    with pytest.raises(ConversionError, match=f"weights file .*{name} is a Git LFS pointer .*{PULL}"):
        torchvision_classifier("squeezenet1_1", path)


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\r\noid sha256:00\r\nsize 5\r\n",
        b"version https://git-lfs.github.com/spec/v2\nsize 5\n",
        b"version https://hawser.github.com/spec/v1\noid sha256:00\nsize 5\n",
        b"version https://git-lfs.github.com/spec/v1\next-0-foo sha256:00\noid sha256:00\nsize 5\n",
    ],
)
def test_other_forms_of_a_pointer(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)

    assert "itself of 5 bytes" in refused(tmp_path / "net.onnx")


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_nothing_else_is_a_pointer(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "no_pointer"
    path.write_bytes(content)

    assert tell_pointer(path) == ""


def test_a_long_file_that_begins_like_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(pointer_to(b"") + b"cat\n" * 1000)

    assert tell_pointer(tmp_path / "labels.txt") == ""
    assert tell_pointer(tmp_path) == ""
