from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conversion.errors import ConversionError
from conversion.images import load_image
from conversion.sources.timm_models import timm_classifier
from conversion.sources.transform_check import difference

timm = pytest.importorskip("timm")

PHOTOS = sorted((Path(__file__).parents[3] / "fixtures/images/photos").glob("*.jpg"))
DIGITS = tuple("0123456789")
SMALL = "mobilenetv4_conv_small.e2400_r224_in1k"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the libraries an empty cache of their own, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path / "hub"


def state_of(name: str, classes: int, seed: int = 5) -> dict[str, torch.Tensor]:
    """Make weights as timm's users do; the statistics of batch norm differ from the initial ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = timm.create_model(name, num_classes=classes)
        for key, buffer in module.named_buffers():
            if "running" in key:
                buffer.uniform_(0.5, 1.5)
    return module.state_dict()


def same(state: dict[str, torch.Tensor], module: torch.nn.Module) -> bool:
    own = module.state_dict()
    return set(own) == set(state) and all(torch.equal(value, own[key]) for key, value in state.items())


# Random weights


def test_random_weights_come_from_the_seed_and_leave_the_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    module = timm_classifier(SMALL, seed=3, labels=DIGITS).module
    assert torch.equal(torch.rand(1), expected)
    assert not module.training
    assert same(module.state_dict(), timm_classifier(SMALL, seed=3, labels=DIGITS).module)
    assert not same(module.state_dict(), timm_classifier(SMALL, seed=4, labels=DIGITS).module)
    torch.manual_seed(3)
    assert same(timm.create_model(SMALL, num_classes=10).state_dict(), module)


# Preprocessing: typed in from the cards of these weights


@pytest.mark.parametrize(
    ("name", "size", "resize", "interpolation", "mean"),
    [
        (SMALL, (224, 224), 256, "bicubic", (0.485, 0.456, 0.406)),  # 224 at 0.875; 256 at 0.95 is for tests only
        ("resnet18.tv_in1k", (224, 224), 256, "bilinear", (0.485, 0.456, 0.406)),
        ("vit_tiny_patch16_224.augreg_in21k", (224, 224), 248, "bicubic", (0.5, 0.5, 0.5)),
        ("repvit_m0_9.dist_450e_in1k", (224, 224), 235, "bicubic", (0.485, 0.456, 0.406)),
        ("convnextv2_atto.fcmae_ft_in1k", (224, 224), 256, "bicubic", (0.485, 0.456, 0.406)),
        ("mobilevit_xxs.cvnets_in1k", (256, 256), 284, "bicubic", (0.0, 0.0, 0.0)),
        ("fastvit_t8.apple_in1k", (256, 256), 284, "bicubic", (0.485, 0.456, 0.406)),
        ("beitv2_base_patch16_224.in1k_ft_in22k_in1k", (224, 224), 248, "bicubic", (0.485, 0.456, 0.406)),
    ],
)
def test_preprocessing_is_that_of_the_tag(
    name: str,
    size: tuple[int, int],
    resize: int,
    interpolation: str,
    mean: tuple[float, ...],
    without_weights: None,
) -> None:
    preprocessing = timm_classifier(name, labels=DIGITS).preprocessing
    assert (preprocessing.size, preprocessing.resize) == (size, resize)
    assert (preprocessing.interpolation, preprocessing.mean) == (interpolation, mean)


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make models without memory for weights: what is looked at is their configuration."""
    create = timm.create_model

    def meta(*args: Any, **options: Any) -> torch.nn.Module:
        with torch.device("meta"):
            return create(*args, **options)

    monkeypatch.setattr(timm, "create_model", meta)


# center at several crop_pct and interpolations, squash, and a crop larger than what is resized (crop_pct 1.15)
@pytest.mark.parametrize(
    "name",
    [
        SMALL,
        "resnet18.tv_in1k",
        "mobilevit_xxs.cvnets_in1k",
        "vit_base_patch16_clip_384.openai_ft_in12k_in1k",
        "vit_base_patch16_sapiens2.fb",
        "volo_d4_448.sail_in1k",
    ],
)
def test_pixels_are_those_of_timms_own_transform(name: str, without_weights: None) -> None:
    classifier = timm_classifier(name, labels=DIGITS)
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    )
    assert len(PHOTOS) >= 8
    for photo in PHOTOS:
        assert difference(classifier.preprocessing, transform, load_image(photo)) < 0.01
    assert classifier.own_transform is not None
    assert difference(classifier.preprocessing, classifier.own_transform, load_image(PHOTOS[0])) < 0.01


def test_a_small_picture_is_padded_as_timm_does(without_weights: None) -> None:
    classifier = timm_classifier("volo_d4_448.sail_in1k", labels=DIGITS)
    assert classifier.preprocessing.resize == 389
    assert classifier.own_transform is not None
    assert (
        difference(classifier.preprocessing, classifier.own_transform, load_image(PHOTOS[0]).crop((3, 5, 90, 201)))
        < 0.01
    )


@pytest.mark.parametrize(
    ("overlay", "told"),
    [
        ({"crop_mode": "border"}, "crop_mode border: it pads with the mean colour"),
        ({"input_size": (3, 224, 192)}, "crop_mode center for 224x192"),
        ({"interpolation": "random"}, "interpolation random"),
    ],
)
def test_what_no_preprocessing_describes_is_refused_by_name(
    overlay: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **o: create(name, **o, pretrained_cfg_overlay=overlay))
    with pytest.raises(ConversionError) as caught:
        timm_classifier(SMALL, labels=DIGITS)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


# Labels


def test_labels_are_imagenets_where_timm_knows_the_number_of_classes(without_weights: None) -> None:
    labels = timm_classifier(SMALL).labels
    assert len(labels) == len(set(labels)) == 1000
    assert labels[0] == "tench, Tinca tinca"
    assert labels[999] == "toilet tissue, toilet paper, bathroom tissue"
    assert [labels[134], labels[517]] == ["crane", "crane (517)"]
    assert len(set(timm_classifier("vit_tiny_patch16_224.augreg_in21k").labels)) == 21843
    assert len(set(timm_classifier("convnext_nano.in12k").labels)) == 11821


def test_other_numbers_of_classes_are_counted(without_weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm.data, "infer_imagenet_subset", lambda cfg: None)
    assert timm_classifier(SMALL).labels[:2] == ("class_0", "class_1")


def test_a_model_of_features_asks_for_labels(without_weights: None) -> None:
    with pytest.raises(ConversionError, match="has no classes, it answers features: give labels, one per class"):
        timm_classifier("vit_small_patch14_dinov2.lvd142m")


# Names


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilenet_v4_conv_small", "did you mean mobilenetv4_conv_small"),
        ("ResNet18", "resnet18"),
        ("mobilenetv4_conv_small.e2400_r224", "did you mean mobilenetv4_conv_small.e2400_r224_in1k"),
        ("resnet18.a1_in1", "resnet18.a1_in1k"),
        ("", "timm.list_models() lists all"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm has no model 'hf-hub:timm/resnet18.a1_in1k'"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(ConversionError) as caught:
        timm_classifier(name)
    assert near in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_timm_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConversionError, match=r"need the package timm.*: pip install 'coreml-parity\[timm\]'$"):
        timm_classifier(SMALL)


# Weights


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_weights_is_read(tmp_path: Path, suffix: str) -> None:
    state = state_of(SMALL, 10)
    path = tmp_path / f"mine{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    assert same(state, timm_classifier(SMALL, path, labels=DIGITS).module)


def test_the_checkpoint_of_a_training_is_unwrapped(tmp_path: Path) -> None:
    state = state_of(SMALL, 10)
    parallel = {f"module.{key}": value for key, value in state.items()}
    torch.save(
        {"epoch": 3, "arch": "x", "state_dict": state_of(SMALL, 10, 6), "state_dict_ema": parallel},
        tmp_path / "last.pth.tar",
    )
    assert same(state, timm_classifier(SMALL, tmp_path / "last.pth.tar", labels=DIGITS).module)


def test_weights_in_the_layout_of_a_models_authors_are_converted_as_timm_does(tmp_path: Path) -> None:
    """ConvNeXt's authors count the stem among the `downsample_layers`, and call the blocks' parts otherwise."""
    name = "convnext_atto"
    state = state_of(name, 10)
    old = {authors(key): value for key, value in state.items()}
    assert "downsample_layers.0.0.weight" in old
    torch.save({"model": old}, tmp_path / "authors.pth")
    assert same(state, timm_classifier(name, tmp_path / "authors.pth", labels=DIGITS).module)


def authors(key: str) -> str:
    """Name a weight of ConvNeXt as its authors' published files do."""
    key = key.replace("stem.", "downsample_layers.0.").replace("head.fc.", "head.").replace("head.norm.", "norm.")
    key = re.sub(r"stages\.(\d+)\.downsample\.", r"downsample_layers.\1.", key)
    key = re.sub(r"stages\.(\d+)\.blocks\.", r"stages.\1.", key)
    return key.replace("conv_dw.", "dwconv.").replace("mlp.fc", "pwconv")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda: state_of("resnet18", 10), "does not fit the model, by keys: "),
        (lambda: state_of(SMALL, 12), r"1 different|2 different"),
        (lambda: [1], "found list instead of a state dict"),
    ],
    ids=["model", "classes", "list"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, other: Any, told: str) -> None:
    torch.save(other(), tmp_path / "other.pth")
    with pytest.raises(ConversionError, match=told) as caught:
        timm_classifier(SMALL, tmp_path / "other.pth", labels=DIGITS)
    assert str(tmp_path / "other.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


# Default weights


def test_a_failing_download_says_which_file_and_where_it_was_looked_for(offline: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        timm_classifier(SMALL, "DEFAULT")
    message = str(caught.value)
    assert "model.safetensors of the repository timm/mobilenetv4_conv_small.e2400_r224_in1k" in message
    assert str(offline) in message
    assert "pass the path of such a file as weights" in message
    assert "\n" not in message


def test_a_model_without_weights_says_so(offline: Path) -> None:
    with pytest.raises(ConversionError, match=r"timm has no weights for beit3_giant_patch14_224"):
        timm_classifier("beit3_giant_patch14_224", "DEFAULT")


def test_default_weights_are_timms(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    state = state_of(SMALL, 1000)
    asked: list[Any] = []

    def from_hub(model_id: str, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
        asked.append(model_id)
        print("downloading")
        return dict(state)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", from_hub)
    assert same(state, timm_classifier(SMALL, "DEFAULT").module)
    assert asked == ["timm/mobilenetv4_conv_small.e2400_r224_in1k"]
    assert capfd.readouterr().out == ""


def test_default_weights_have_a_thousand_labels() -> None:
    with pytest.raises(ConversionError, match="10 labels for a model with 1000 outputs"):
        timm_classifier(SMALL, "DEFAULT", labels=DIGITS)


# What is compared


def test_another_transform_is_told_by_the_difference() -> None:
    classifier = timm_classifier(SMALL, labels=DIGITS)
    other = timm.data.create_transform((3, 224, 224), interpolation="bilinear", crop_pct=0.875)
    assert difference(classifier.preprocessing, other, load_image(PHOTOS[0])) > 1
    with pytest.raises(ConversionError, match=r"shape \[3, 192, 192\], and not \[3, 224, 224\]"):
        difference(
            classifier.preprocessing, timm.data.create_transform((3, 192, 192)), Image.new("RGB", (300, 300))
        )
