"""Answers to other pixels are recognised by making these pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from conversion.guards.torchvision_guard import torchvision
from parity.backends import find_backend
from parity.backends.reference import make_reference
from parity.suite.images import load_images
from tests.parity.diagnosis.faulty import broken, causes, explained, files, good, mixed, reference, some, swapped

SIZE = 48
functional = torchvision().transforms.functional


def cropped(image: Image.Image) -> np.ndarray:
    return np.array(functional.center_crop(image, [SIZE, SIZE]))


def bicubic(image: Image.Image) -> np.ndarray:
    return cropped(functional.resize(image, [56], interpolation=functional.InterpolationMode.BICUBIC))


def not_smoothed(image: Image.Image) -> np.ndarray:
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    resized = functional.resize(tensor, [56], antialias=False)
    cut: np.ndarray = functional.center_crop(resized, [SIZE, SIZE]).permute(1, 2, 0).numpy()
    return cut


def stretched(image: Image.Image) -> np.ndarray:
    return np.array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def fitted(image: Image.Image) -> np.ndarray:
    return np.array(ImageOps.pad(image, (SIZE, SIZE), Image.Resampling.BILINEAR))


def usual(image: Image.Image) -> np.ndarray:
    return cropped(functional.resize(image, [56]))


def of_opencv(image: Image.Image) -> np.ndarray:
    return usual(image)[..., ::-1]


def on_its_side(image: Image.Image) -> np.ndarray:
    return np.rot90(usual(image))


def black_and_white(image: Image.Image) -> np.ndarray:
    return usual(image.convert("L").convert("RGB"))


@pytest.mark.parametrize(
    ("fault", "prepare", "message"),
    [
        ("pre-interp-kernel", bicubic, "bicubic"),
        ("pre-resize-antialias", not_smoothed, "without antialiasing"),
        ("pre-crop-geometry", stretched, "scaleFill"),
        ("pre-crop-geometry", fitted, "scaleFit"),
        ("pre-bgr-swap", of_opencv, "BGR"),
        ("pre-exif-orientation", on_its_side, "turned left by 90 degrees"),
        ("pre-colour-mode", black_and_white, "grey"),
    ],
)
def test_answers_to_other_pixels(fault: str, prepare: Callable[[Image.Image], np.ndarray], message: str) -> None:
    artifact = good("onnx-torchscript")
    pixels = np.stack([np.ascontiguousarray(prepare(Image.open(path).convert("RGB"))) for path in files()])
    elsewhere = find_backend("onnxruntime").load(artifact)(pixels)

    explanation = explained(artifact, reference(), elsewhere)

    assert causes(explanation) == [fault]
    assert message in explanation.diagnoses[0].message
    assert "PSNR" in explanation.diagnoses[0].message


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """Save photos as a camera does that was held upright: on their side, with a tag that says so."""
    for path in files()[:4]:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(path).save(tmp_path / f"{path.stem}.png", exif=exif)
    return tmp_path


def test_an_orientation_that_was_not_applied(turned: Path) -> None:
    against = make_reference(mixed(), load_images(str(turned), mixed().preprocessing))
    artifact = good("onnx-torchscript")
    pixels = np.stack([usual(Image.open(path).convert("RGB")) for path in against.images.files])

    explanation = explained(artifact, against, find_backend("onnxruntime").load(artifact)(pixels))

    assert causes(explanation) == ["pre-exif-orientation"]
    assert "ImageOps.exif_transpose" in explanation.diagnoses[0].message


def test_transparency_that_was_blended(tmp_path: Path) -> None:
    for path in files()[:4]:
        image = Image.open(path).convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(tmp_path / f"{path.stem}.png")
    against = make_reference(mixed(), load_images(str(tmp_path), mixed().preprocessing))
    artifact = good("onnx-torchscript")
    white = [
        Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        for image in map(Image.open, against.images.files)
    ]
    pixels = np.stack([usual(image) for image in white])

    explanation = explained(artifact, against, find_backend("onnxruntime").load(artifact)(pixels))

    assert causes(explanation) == ["pre-colour-mode"]
    assert "blended over white" in explanation.diagnoses[0].message


def test_another_decoder_is_no_fault_of_the_model() -> None:
    artifact = good("onnx-torchscript")
    noise = np.random.default_rng(2).integers(-1, 2, reference().images.pixels.shape)
    pixels = np.clip(reference().images.pixels + noise, 0, 255).astype(np.uint8)

    explanation = explained(artifact, reference(), find_backend("onnxruntime").load(artifact)(pixels))

    # Nobody has the pixels that were shown, so nothing was run again without the fault.
    assert causes(explanation) == []
    assert [d.fault for d in explanation.diagnoses][:2] == ["pre-decoder", "pre-app-path"]
    assert "may differ a little, as between two decoders" in explanation.diagnoses[0].message
    assert all(d.evidence == "" for d in explanation.diagnoses)


def test_pixels_of_another_way_that_were_rounded_too_are_a_suspect_alone() -> None:
    artifact = good("onnx-torchscript")
    pixels = np.stack([stretched(Image.open(path).convert("RGB")) for path in files()])
    noise = np.random.default_rng(3).integers(-1, 2, pixels.shape)
    shown = np.clip(pixels.astype(np.int16) + noise, 0, 255).astype(np.uint8)

    explanation = explained(artifact, reference(), find_backend("onnxruntime").load(artifact)(shown))

    assert causes(explanation) == []
    first = explanation.diagnoses[0]
    assert first.fault == "pre-crop-geometry"
    assert "scaleFill" in first.message
    assert "is not more than pixels that were rounded otherwise cost PyTorch" in first.message


def compressed(image: Image.Image, quality: int) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return usual(Image.open(file))


@pytest.mark.parametrize("quality", [95, 85, 60, 20])
def test_a_file_that_is_right_here_is_not_blamed_for_what_was_recorded(quality: int) -> None:
    artifact = good("onnx-torchscript")
    pixels = np.stack([compressed(Image.open(path).convert("RGB"), quality) for path in files()])

    explanation = explained(artifact, reference(), find_backend("onnxruntime").load(artifact)(pixels))

    # Whether or not these are still the least bits: nothing is confirmed by what nobody ran.
    assert causes(explanation) == []
    assert [d.fault for d in explanation.diagnoses][:1] in (["pre-decoder"], ["pre-app-path"])
    assert "before blaming the converter" in explanation.diagnoses[0].message or "no fault of the converter" in (
        explanation.diagnoses[0].message
    )
    assert explanation.first_divergence is None


def test_a_file_that_is_wrong_here_too_is_not_called_right() -> None:
    artifact = broken(good("onnx-torchscript"), swapped)
    # A search that finds nothing tries everything, on every image: three will do.
    few = make_reference(mixed(), some(reference(), [0, 2, 5]))
    noise = np.random.default_rng(2).integers(-40, 41, few.images.pixels.shape)
    pixels = np.clip(few.images.pixels + noise, 0, 255).astype(np.uint8)

    explanation = explained(artifact, few, find_backend("onnxruntime").load(artifact)(pixels))

    assert "pre-app-path" not in [d.fault for d in explanation.diagnoses]


def test_answers_to_these_very_pixels_are_no_matter_of_the_decoder() -> None:
    artifact = good("onnx-torchscript")
    noise = np.random.default_rng(2).integers(-1, 2, reference().images.pixels.shape)
    pixels = np.clip(reference().images.pixels + noise, 0, 255).astype(np.uint8)
    answers = find_backend("onnxruntime").load(artifact)(pixels)

    assert causes(explained(artifact, reference(), replace(answers, same_pixels=True))) == []
