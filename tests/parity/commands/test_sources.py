"""A command given a library's model: from the directory to the verdict, with what is said of its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.parity.commands.command import Parity


@pytest.fixture
def saved(place: Path) -> Path:
    """Save a tiny classifier of transformers and a photo, of which resizing makes other pixels by each way."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=8, id2label={0: "ant", 1: "bee"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = transformers.ViTForImageClassification(config)
        for weight in model.parameters():
            weight.data.add_(0.5 * torch.randn_like(weight))
    model.save_pretrained(place / "vit")
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}, resample=3).save_pretrained(place / "vit")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "photo.png")
    return place / "vit"


def test_a_directory_of_transformers_is_converted_and_checked(saved: Path, parity: Parity) -> None:
    converted = parity("convert", "transformers:vit", "--route", "onnx-torchscript", "--out", "out")
    assert converted.code == 0, converted.err
    assert converted.err == ""

    done = parity("check", "transformers:vit", converted.out.strip(), "--images", "photo.png")

    assert "transformers' own transform gives other pixels: up to " in done.out
    assert "/255 (it resizes tensors)" in done.out


def test_a_directory_that_lacks_a_file_is_told_in_one_line(saved: Path, parity: Parity) -> None:
    (saved / "preprocessor_config.json").unlink()
    done = parity("convert", "transformers:vit", "--route", "onnx", "--out", "out")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        "parity: vit lacks preprocessor_config.json: save the model and its image processor "
    )
    assert done.err.count("\n") == 1
