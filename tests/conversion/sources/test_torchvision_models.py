from __future__ import annotations

import argparse
import re
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conversion.classifier import Preprocessing
from conversion.errors import ConversionError
from conversion.guards.torchvision_guard import torchvision
from conversion.images import to_pixels
from conversion.labels import imagenet_labels
from conversion.sources.torchvision_models import torchvision_classifier, torchvision_model_names

DIGITS = tuple("0123456789")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give PyTorch a folder of downloads of its own, and no network."""

    def unreachable(url: str, *_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def answer(module: torch.nn.Module, side: int = 64) -> torch.Tensor:
    with torch.inference_mode():
        return module(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)))


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == key and torch.equal(left, right) for (name, left), (key, right) in pairs)


def state_of(name: str, seed: int = 5, **options: Any) -> dict[str, torch.Tensor]:
    """Make weights as torchvision's users do; the statistics of batch norm differ from the initial ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = torchvision().models.get_model(name, weights=None, **options)
        for buffer_name, buffer in module.named_buffers():
            if "running" in buffer_name:
                buffer.uniform_(0.5, 1.5)
    return module.state_dict()


# Random weights


def test_random_weights_come_from_the_seed_and_leave_the_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    module = torchvision_classifier("mobilenet_v3_small", seed=3).module
    assert torch.equal(torch.rand(1), expected)
    assert same(module, torchvision_classifier("mobilenet_v3_small", seed=3).module)
    assert not same(module, torchvision_classifier("mobilenet_v3_small", seed=4).module)
    torch.manual_seed(3)
    assert same(module, torchvision().models.mobilenet_v3_small())


def test_a_classifier_is_in_eval_mode_and_has_imagenets_labels() -> None:
    classifier = torchvision_classifier("squeezenet1_1")
    assert classifier.name == "squeezenet1_1"
    assert not any(module.training for module in classifier.module.modules())
    assert classifier.labels == imagenet_labels()
    assert answer(classifier.module).shape == (2, 1000)


def test_labels_set_the_number_of_outputs() -> None:
    classifier = torchvision_classifier("squeezenet1_1", labels=list(DIGITS))
    assert classifier.labels == DIGITS
    assert answer(classifier.module).shape == (2, 10)


def test_duplicate_labels_are_refused() -> None:
    with pytest.raises(ConversionError, match="duplicate labels: 'crane' at 0 and 2"):
        torchvision_classifier("squeezenet1_1", labels=["crane", "tench", "crane"])


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    logits = answer(torchvision_classifier(name, labels=DIGITS).module, side=96)
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 10)
    assert capfd.readouterr() == ("", "")


# Preprocessing: typed in from torchvision's documentation of each model's weights


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        ("mobilenet_v2", Preprocessing(size=(224, 224), resize=232, interpolation="bilinear")),
        ("resnet18", Preprocessing(size=(224, 224), resize=256, interpolation="bilinear")),
        ("efficientnet_b0", Preprocessing(size=(224, 224), resize=256, interpolation="bicubic")),
        ("squeezenet1_1", Preprocessing(size=(224, 224), resize=256, interpolation="bilinear")),
        ("swin_v2_t", Preprocessing(size=(256, 256), resize=260, interpolation="bicubic")),
    ],
)
def test_preprocessing_is_that_of_the_default_weights(name: str, preprocessing: Preprocessing) -> None:
    assert torchvision_classifier(name, labels=DIGITS).preprocessing == preprocessing


def test_preprocessing_gives_what_torchvisions_own_transforms_give() -> None:
    weights = torchvision().models.get_model_weights("efficientnet_b0").DEFAULT
    preprocessing = torchvision_classifier("efficientnet_b0", labels=DIGITS).preprocessing
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8))
    scaled = torch.from_numpy(to_pixels(image, preprocessing)).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(s).reshape(3, 1, 1) for s in (preprocessing.mean, preprocessing.std))
    torch.testing.assert_close((scaled - mean) / std, weights.transforms()(image))


@pytest.mark.parametrize("name", torchvision().models.list_models(module=torchvision().models))
def test_every_model_has_default_weights_for_imagenet(name: str) -> None:
    """The classes, the square input and the four interpolations are what torchvision_classifier relies on."""
    assert name in torchvision_model_names()
    weights = torchvision().models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    assert len(weights.meta["categories"]) == 1000
    assert len(transforms.crop_size) == len(transforms.resize_size) == 1
    assert transforms.interpolation.value in ("nearest", "bilinear", "bicubic", "lanczos")


# Names


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilenetv2", "did you mean mobilenet_v2"),
        ("ResNet18", "resnet18"),
        ("efficientnet-b0", "did you mean efficientnet_b0"),
        ("quantized_resnet18", "resnet18"),
        ("fasterrcnn_resnet50_fpn", "no classification model 'fasterrcnn_resnet50_fpn'"),
        ("", "torchvision_model_names() lists all"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(ConversionError) as caught:
        torchvision_classifier(name)
    assert near in str(caught.value)
    assert "\n" not in str(caught.value)


# Default weights


def test_default_weights_are_taken_from_the_folder_of_downloads(
    hub: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = state_of("squeezenet1_1")
    torch.save(state, hub / "squeezenet1_1-b8a52dc0.pth")
    classifier = torchvision_classifier("squeezenet1_1", "DEFAULT")
    assert all(torch.equal(state[key], value) for key, value in classifier.module.state_dict().items())
    assert classifier.labels == imagenet_labels()
    assert not classifier.module.training
    assert capfd.readouterr() == ("", "")


def test_a_failing_download_says_where_from_where_to_and_what_to_do(
    hub: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConversionError) as caught:
        torchvision_classifier("squeezenet1_1", "DEFAULT")
    message = str(caught.value)
    assert str(hub / "squeezenet1_1-b8a52dc0.pth") in message
    assert re.search(r"downloaded from https://\S+/squeezenet1_1-b8a52dc0\.pth", message)
    assert "no route to host" in message
    assert "pass its path as weights" in message
    assert "\n" not in message
    assert capfd.readouterr().out == ""


def test_a_damaged_download_is_named(hub: Path) -> None:
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"half a file")
    with pytest.raises(ConversionError, match=r"squeezenet1_1-b8a52dc0\.pth, cannot be loaded .*delete the file"):
        torchvision_classifier("squeezenet1_1", "DEFAULT")


def test_default_weights_have_a_thousand_labels(hub: Path) -> None:
    with pytest.raises(ConversionError, match="10 labels for a model with 1000 outputs"):
        torchvision_classifier("squeezenet1_1", "DEFAULT", labels=DIGITS)


# Files


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet0_5"])
def test_a_state_dict_is_read(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    state = state_of(name, num_classes=10)
    if suffix == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    module = torchvision_classifier(name, path, labels=DIGITS).module
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    assert not module.training


def test_batch_norms_stored_before_they_counted_batches_are_read(tmp_path: Path) -> None:
    state = {key: value for key, value in state_of("mobilenet_v3_small").items() if "num_batches" not in key}
    torch.save(state, tmp_path / "old.pth")
    module = torchvision_classifier("mobilenet_v3_small", tmp_path / "old.pth").module
    assert all(torch.equal(module.state_dict()[key], value) for key, value in state.items())


def test_the_old_names_of_densenets_layers_are_understood(tmp_path: Path) -> None:
    state = state_of("densenet121", num_classes=10)
    old = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: value
        for key, value in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet.pth")
    module = torchvision_classifier("densenet121", tmp_path / "densenet.pth", labels=DIGITS).module
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_trained_weights_with_auxiliary_heads_answer_as_in_torchvision(tmp_path: Path, name: str) -> None:
    options = {"num_classes": 10, "aux_logits": True, "init_weights": False}
    state = state_of(name, **options)
    assert any(key.startswith(("aux1.", "AuxLogits.")) for key in state)
    torch.save(state, tmp_path / "trained.pth")
    trained = torchvision().models.get_model(name, weights=None, transform_input=True, **options)
    trained.load_state_dict(state)
    module = torchvision_classifier(name, tmp_path / "trained.pth", labels=DIGITS).module
    torch.testing.assert_close(answer(module, side=96), answer(trained.eval(), side=96))
    # Random weights are nearly blind to their input's statistics, so the answers alone would not show this.
    assert module.transform_input is True
    assert torchvision_classifier(name, labels=DIGITS).module.transform_input is False


def test_a_file_that_is_called_like_a_download_is_preprocessed_like_it(tmp_path: Path) -> None:
    """torchvision's two versions of MobileNetV2 are resized to 256 and 232."""
    for file, resize in (("mobilenet_v2-b0353104.pth", 256), ("mobilenet_v2-7ebf99e0.pth", 232), ("mine.pth", 232)):
        torch.save(state_of("mobilenet_v2", num_classes=10), tmp_path / file)
        classifier = torchvision_classifier("mobilenet_v2", str(tmp_path / file), labels=DIGITS)
        assert classifier.preprocessing.resize == resize


def test_a_vision_transformer_has_the_input_size_of_its_weights(tmp_path: Path) -> None:
    with torch.device("meta"):
        expected = torchvision().models.vit_b_16(image_size=384, num_classes=10).state_dict()
    position = expected["encoder.pos_embedding"].shape
    path = tmp_path / "vit_b_16_swag-9ac1b537.pth"
    torch.save({"encoder.pos_embedding": torch.zeros(position)}, path)
    with pytest.raises(ConversionError, match="missing") as caught:
        torchvision_classifier("vit_b_16", path, labels=DIGITS)
    assert "different" not in str(caught.value)
    path.rename(tmp_path / "mine.pth")
    with pytest.raises(
        ConversionError, match=r"1 different \(encoder.pos_embedding \[1, 577, 768\] instead of \[1, 197, 768\]"
    ):
        torchvision_classifier("vit_b_16", tmp_path / "mine.pth", labels=DIGITS)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r'absent\.pth does not exist: .*"DEFAULT"'):
        torchvision_classifier("squeezenet1_1", tmp_path / "absent.pth")


@pytest.mark.parametrize("name", ["empty.pth", "text.pth", "cut.pth", "text.safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save(torch.zeros(100), path)
    content = {"empty": b"", "text": b"not weights at all", "cut": path.read_bytes()[:400]}
    path.write_bytes(content[path.stem])
    with pytest.raises(ConversionError, match="is damaged or no file of weights") as caught:
        torchvision_classifier("squeezenet1_1", path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_with_other_objects_is_not_executed(tmp_path: Path) -> None:
    class Witness:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"weights": Witness()}, tmp_path / "code.pth")
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "training.pth")
    for name, foreign in (("code.pth", "getattr"), ("training.pth", "argparse.Namespace")):
        with pytest.raises(ConversionError, match=rf"{name} holds an object of {foreign}.*model\.state_dict\(\)"):
            torchvision_classifier("squeezenet1_1", tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"model": {}, "epoch": 3}, "a dict with 'model', 'epoch'"),
        ({str(i): i for i in range(9)}, "a dict with '0', '1', '2', ..."),
        ([1, 2], "list"),
        (torch.zeros(1), "Tensor"),
    ],
)
def test_a_checkpoint_around_the_weights_is_refused(tmp_path: Path, content: Any, found: str) -> None:
    torch.save(content, tmp_path / "checkpoint.pth")
    with pytest.raises(ConversionError) as caught:
        torchvision_classifier("squeezenet1_1", tmp_path / "checkpoint.pth")
    assert f"found {found} instead of a state dict" in str(caught.value)


def test_keys_that_do_not_fit_are_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(state_of("squeezenet1_0", num_classes=1000), path)
    with pytest.raises(ConversionError) as caught:
        torchvision_classifier("mobilenet_v3_small", path)
    message = str(caught.value)
    assert str(path) in message
    assert "210 missing (features.0.0.weight, features.0.1.weight, features.0.1.bias, ...)" in message
    assert "52 unexpected (features.0.weight, features.0.bias, features.3.squeeze.weight, ...)" in message
    assert "\n" not in message


def test_another_number_of_classes_is_named(tmp_path: Path) -> None:
    torch.save(state_of("mobilenet_v3_small", num_classes=10), tmp_path / "ten.pth")
    with pytest.raises(ConversionError) as caught:
        torchvision_classifier("mobilenet_v3_small", tmp_path / "ten.pth")
    assert "2 different (classifier.3.weight [10, 1024] instead of [1000, 1024], " in str(caught.value)
    assert "give labels, one per class" in str(caught.value)
