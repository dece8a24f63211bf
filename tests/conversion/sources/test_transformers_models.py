from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conversion.errors import ConversionError
from conversion.images import load_image
from conversion.sources.transform_check import difference
from conversion.sources.transformers_models import transformers_classifier

transformers = pytest.importorskip("transformers")

PHOTOS = sorted((Path(__file__).parents[3] / "fixtures/images/photos").glob("*.jpg"))
CLASSES = ("daisy", "rose", "tulip")
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
SQUARE = {"size": {"height": 32, "width": 32}}
# Each small enough to be made in a moment: the class of the configuration, its settings, the image processor.
FAMILIES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": ("ViTConfig", VIT, "ViTImageProcessor", SQUARE),
    "deit": (
        "DeiTConfig",
        VIT | {"architectures": ["DeiTForImageClassification"]},
        "DeiTImageProcessor",
        {"size": {"height": 37, "width": 37}, "crop_size": {"height": 32, "width": 32}},
    ),
    "convnext": (
        "ConvNextConfig",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.9},
    ),
    "resnet": (
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 384}},
    ),
    "swin": (
        "SwinConfig",
        {
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "window_size": 4,
        },
        "ViTImageProcessor",
        SQUARE,
    ),
    "mobilevit": (
        "MobileViTConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "neck_hidden_sizes": [8, 8, 8, 16, 16, 16, 32],
            "num_attention_heads": 2,
        },
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
    "levit": (
        "LevitConfig",
        {
            "architectures": ["LevitForImageClassificationWithTeacher"],
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "num_attention_heads": [1, 1, 1],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "patch_size": 16,
        },
        "LevitImageProcessor",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    ),
    "efficientnet": (
        "EfficientNetConfig",
        {
            "width_coefficient": 0.25,
            "depth_coefficient": 0.2,
            "image_size": 32,
            "hidden_dim": 320,
            "kernel_sizes": [3],
            "in_channels": [32],
            "out_channels": [16],
            "depthwise_padding": [],
            "strides": [1],
            "num_block_repeats": [1],
            "expand_ratios": [1],
        },
        "EfficientNetImageProcessor",
        SQUARE,
    ),
    "mobilenet_v2": (
        "MobileNetV2Config",
        {"depth_multiplier": 0.25, "image_size": 64},
        "MobileNetV2ImageProcessor",
        {"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}},
    ),
}


def processor_of(kind: str, backend: str = "", **settings: Any) -> Any:
    return getattr(transformers, kind + backend)(**settings)


def save(directory: Path, family: str, processor: dict[str, Any] | None = None, **settings: Any) -> torch.nn.Module:
    """Write a tiny trained-looking model of a family, as its authors do, and return it."""
    config_class, sizes, processor_kind, processor_settings = FAMILIES[family]
    config = getattr(transformers, config_class)(**sizes, id2label=dict(enumerate(CLASSES)), **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = transformers.AutoModelForImageClassification.from_config(config)
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and "running_var" not in key:
                tensor.data.add_(0.1 * torch.randn_like(tensor))
    model.eval().save_pretrained(directory)
    processor_of(processor_kind, **(processor_settings | (processor or {}))).save_pretrained(directory)
    return model  # type: ignore[no-any-return]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the library an empty cache of its own, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


# Families


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_those_of_the_librarys_own_pipeline(family: str, tmp_path: Path) -> None:
    """From the picture to the logits, as the library's users do it, with Pillow's way of resizing."""
    directory = tmp_path / family
    model = save(directory, family)
    kind, settings = FAMILIES[family][2:]
    theirs = processor_of(kind, "Pil", **settings)

    classifier = transformers_classifier(directory)

    assert classifier.name == family
    assert classifier.labels == CLASSES
    assert not classifier.module.training
    assert all(weight.dtype == torch.float32 for weight in classifier.module.parameters())
    for photo in PHOTOS[:3]:
        picture = load_image(photo)
        with torch.inference_mode():
            expected = model(**theirs(picture, return_tensors="pt")).logits
            actual = classifier.module(normalised(picture, classifier.preprocessing))
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def normalised(picture: Image.Image, preprocessing: Any) -> torch.Tensor:
    from conversion.images import to_pixels

    pixels = torch.from_numpy(to_pixels(picture, preprocessing)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(s).reshape(1, 3, 1, 1) for s in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_those_of_the_librarys_own_processor(family: str, tmp_path: Path) -> None:
    """Equal to the last bit where it resizes with Pillow; by default it resizes tensors, which rounds otherwise."""
    save(tmp_path, family)
    classifier = transformers_classifier(tmp_path)
    kind, settings = FAMILIES[family][2:]
    pillow = processor_of(kind, "Pil", **settings)
    flip = family == "mobilevit"

    def transform(picture: Image.Image) -> torch.Tensor:
        numbers: torch.Tensor = pillow(picture, return_tensors="pt")["pixel_values"][0]
        return numbers.flip(0) if flip else numbers

    assert len(PHOTOS) >= 8
    for photo in PHOTOS:
        picture = load_image(photo)
        assert difference(classifier.preprocessing, transform, picture) < 0.01
        assert classifier.own_transform is not None
        assert difference(classifier.preprocessing, classifier.own_transform, picture) < 4


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViTImageProcessor", {"do_normalize": False}),
        ("ViTImageProcessor", {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3}),
        ("ViTImageProcessor", {"resample": 1}),
        ("ViTImageProcessor", {"resample": 0}),
        ("BeitImageProcessor", {"do_center_crop": True, "crop_size": {"height": 200, "width": 181}}),
        ("BitImageProcessor", {}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 231}}),
        ("MobileNetV1ImageProcessor", {}),
        ("PvtImageProcessor", {}),
        ("SegformerImageProcessor", {}),
        ("SiglipImageProcessor", {}),
        ("EfficientNetImageProcessor", {"include_top": False}),
        (
            "EfficientNetImageProcessor",
            {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False, "do_normalize": False},
        ),
        ("MobileViTImageProcessor", {"do_flip_channel_order": False, "do_normalize": True}),
    ],
)
def test_settings_of_processors_give_the_librarys_pixels(kind: str, settings: dict[str, Any]) -> None:
    from conversion.sources.image_processors import described

    processor = processor_of(kind, "Pil", **settings)
    preprocessing = described(processor, "net")

    def transform(picture: Image.Image) -> torch.Tensor:
        numbers: torch.Tensor = processor(picture, return_tensors="pt")["pixel_values"][0]
        return numbers

    for picture in (load_image(PHOTOS[0]), load_image(PHOTOS[4]).resize((301, 423))):
        assert difference(preprocessing, transform, picture) < 0.01


def test_the_rounding_of_the_crop_is_the_librarys(tmp_path: Path) -> None:
    """107 rows to 104: torchvision begins at row 2, transformers at row 1."""
    from conversion.classifier import Preprocessing
    from conversion.images import to_pixels

    picture = Image.new("RGB", (104, 107))
    picture.putdata([(row, row, row) for row in range(107) for _ in range(104)])
    even, down = (
        to_pixels(picture, Preprocessing(size=(104, 104), resize=None, crop_rounding=rounding))
        for rounding in ("even", "down")
    )
    assert (even[0, 0, 0], down[0, 0, 0]) == (2, 1)


@pytest.mark.parametrize(
    ("family", "settings", "told"),
    [
        ("vit", {"size": {"longest_edge": 40, "shortest_edge": 32}}, "size {"),
        ("vit", {"size": {"shortest_edge": 32}}, "it gives images of different sizes"),
        ("vit", {"resample": 4}, "resample 4"),
        ("vit", {"do_pad": True, "pad_size": SQUARE["size"]}, "do_pad"),
        ("convnext", {"do_center_crop": True, "crop_size": SQUARE["size"]}, "do_center_crop, beside the crop"),
    ],
)
def test_a_setting_that_cannot_be_described_is_refused_by_name(
    family: str, settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    save(tmp_path, family, settings)
    with pytest.raises(ConversionError) as caught:
        transformers_classifier(tmp_path)
    assert told in str(caught.value)
    assert "ImageProcessor cannot be described by a Preprocessing" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_processor_of_its_own_kind_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    transformers.PoolFormerImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match="its PoolFormerImageProcessor cannot be described.* in its own way"):
        transformers_classifier(tmp_path)


# Labels and seeds


def test_labels_are_those_of_the_configuration_or_given(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    assert transformers_classifier(tmp_path, labels=["a", "b", "c"]).labels == ("a", "b", "c")
    with pytest.raises(ConversionError, match="2 labels for a model with 3 outputs"):
        transformers_classifier(tmp_path, labels=["a", "b"])


def test_a_repeated_label_gets_its_index(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    change(tmp_path / "config.json", id2label={"0": "crane", "1": "rose", "2": "crane"}, label2id={})
    assert transformers_classifier(tmp_path).labels == ("crane", "rose", "crane (2)")


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    change(tmp_path / "config.json", id2label={"0": "crane", "1": "rose", "3": "heron"}, label2id={})
    with pytest.raises(ConversionError, match="id2label in config.json has no name for class 2"):
        transformers_classifier(tmp_path)


def change(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_random_weights_come_from_the_seed_and_need_no_file(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, same, other = (transformers_classifier(tmp_path, seed=seed).module.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


# Files


def test_a_pickled_file_of_weights_is_read(tmp_path: Path) -> None:
    model = save(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    state = transformers_classifier(tmp_path).module.state_dict()
    assert all(torch.equal(state[f"model.{key}"], value) for key, value in model.state_dict().items())


def test_a_pickle_with_other_objects_is_not_executed(tmp_path: Path) -> None:
    class Witness:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    save(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weights": Witness()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="cannot be loaded by transformers") as caught:
        transformers_classifier(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Evil: pass\n")
    auto = {"AutoConfig": "evil.Evil", "AutoModelForImageClassification": "evil.Evil"}
    change(tmp_path / "config.json", model_type="evil", auto_map=auto)
    with pytest.raises(ConversionError, match="cannot be loaded by transformers") as caught:
        transformers_classifier(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("config.json", "lacks config.json"),
        ("preprocessor_config.json", "lacks preprocessor_config.json"),
        ("model.safetensors", r"lacks model.safetensors \(or pytorch_model.bin\)"),
    ],
)
def test_a_missing_file_is_named(file: str, told: str, tmp_path: Path) -> None:
    save(tmp_path, "vit")
    (tmp_path / file).unlink()
    with pytest.raises(ConversionError, match=told) as caught:
        transformers_classifier(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_without_a_head_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """transformers gives it a random one, and a table on the screen."""
    save(tmp_path, "vit")
    model = transformers.ViTModel.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    capfd.readouterr()
    with pytest.raises(
        ConversionError, match=r"do not fit a ViTForImageClassification: 2 missing \(classifier.bias, "
    ):
        transformers_classifier(tmp_path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"problem_type": "regression"}, "problem_type is regression, and a Classifier answers classes"),
        ({"model_type": "bert"}, "no image classifier of the type bert"),
        ({"num_channels": 1}, "takes 1 channels"),
    ],
)
def test_what_is_no_classifier_of_rgb_is_refused(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    save(tmp_path, "vit")
    change(tmp_path / "config.json", **settings)
    with pytest.raises(ConversionError, match=told):
        transformers_classifier(tmp_path)


def test_labels_that_may_all_be_right_are_judged_apart(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    one = transformers_classifier(tmp_path)
    change(tmp_path / "config.json", problem_type="multi_label_classification")

    apart = transformers_classifier(tmp_path)

    assert (one.sigmoid, apart.sigmoid) == (None, "added")
    assert [spec.name for spec in apart.task.outputs] == ["labelProbs"]


# Names


def test_a_name_that_is_nowhere_says_which_file_and_where_it_was_looked_for(offline: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        transformers_classifier("nobody/net")
    message = str(caught.value)
    assert message.startswith(
        "nobody/net is no directory, and config.json of the repository nobody/net is not in the "
    )
    assert f"cache {offline} " in message
    assert "\n" not in message


def test_a_path_that_is_nowhere_is_no_name(offline: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="absent/net is no directory, and no name of the hub: check the path"):
        transformers_classifier(tmp_path / "absent/net")


def test_without_transformers_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConversionError, match=r"need the package transformers.*'coreml-parity\[transformers\]'$"):
        transformers_classifier("nobody/net")
