"""The ways to name a model, and what is said where none comes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from conversion import ConversionError
from parity import ParityError
from parity.suite.models import load_classifier

GOOD = """
import torch
from conversion import Classifier, Preprocessing

def small(classes=2, name="small"):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, classes)).eval()
    return Classifier(name, module, Preprocessing(size=(2, 2)), tuple(f"class{i}" for i in range(classes)))

smallest = "not a function"

def broken():
    raise ValueError("no weights here")

def nothing():
    return None
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "models.py"
    path.write_text(GOOD, encoding="utf-8")
    return path


def refused(factory: str, directory: Path | None = None, **arguments: object) -> str:
    with pytest.raises(ParityError) as raised:
        load_classifier(factory, arguments, directory=directory)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_beside_the_suite(models: Path) -> None:
    classifier = load_classifier("models.py:small", directory=models.parent)

    assert (classifier.name, classifier.labels) == ("small", ("class0", "class1"))


def test_a_file_by_its_whole_path(models: Path) -> None:
    assert load_classifier(f"{models}:small").name == "small"


def test_a_file_in_the_working_directory(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models.parent)

    assert load_classifier("models.py:small").name == "small"


def test_arguments_reach_the_factory(models: Path) -> None:
    assert len(load_classifier(f"{models}:small", {"classes": 5}).labels) == 5


def test_a_given_name_replaces_the_classifiers_own(models: Path) -> None:
    assert load_classifier(f"{models}:small", name="tiny").name == "tiny"


def test_two_files_of_one_name_are_two_modules(models: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "models.py"
    other.parent.mkdir()
    other.write_text(GOOD.replace('name="small"', 'name="other"'), encoding="utf-8")

    assert load_classifier("models.py:small", directory=models.parent).name == "small"
    assert load_classifier("models.py:small", directory=other.parent).name == "other"


def test_a_module_that_can_be_imported(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = models.parent / "ours_to_convert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(GOOD, encoding="utf-8")
    monkeypatch.syspath_prepend(models.parent)
    for name in ("ours_to_convert", "ours_to_convert.nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    assert load_classifier("ours_to_convert.nets:small").name == "small"


# torchvision


def test_a_model_of_torchvision() -> None:
    classifier = load_classifier("torchvision:squeezenet1_1", {"labels": ["ant", "bee"]})

    assert (classifier.name, classifier.labels) == ("squeezenet1_1", ("ant", "bee"))
    assert classifier.preprocessing.size == (224, 224)


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        ("torchvision:squeezenet1_1", {"weights": "trained.pth"}),
        ("torchvision:squeezenet1_1@trained.pth", {}),
    ],
)
def test_a_file_of_weights_lies_beside_the_suite(factory: str, arguments: dict[str, str], tmp_path: Path) -> None:
    trained = load_classifier("torchvision:squeezenet1_1", {"labels": ["ant", "bee"], "seed": 5})
    torch.save(trained.module.state_dict(), tmp_path / "trained.pth")

    loaded = load_classifier(factory, {**arguments, "labels": ["ant", "bee"]}, directory=tmp_path)

    expected = trained.module.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.module.state_dict().items())


def test_an_unknown_model_of_torchvision_is_told_with_the_nearest() -> None:
    with pytest.raises(ConversionError, match=r"no classification model 'resnet19': did you mean .*resnet18"):
        load_classifier("torchvision:resnet19")


# timm and transformers: what they build is tested in tests/conversion/sources


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        ("timm:test_vit", {"weights": "trained.pth"}),
        ("timm:test_vit.r160_in1k@trained.pth", {}),
    ],
)
def test_a_model_of_timm_with_weights_beside_the_suite(
    factory: str, arguments: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("timm")
    trained = load_classifier("timm:test_vit", {"labels": ["ant", "bee"], "seed": 5})
    torch.save({"state_dict": trained.module.state_dict()}, tmp_path / "trained.pth")

    loaded = load_classifier(factory, {**arguments, "labels": ["ant", "bee"]}, "insects", tmp_path)

    assert (loaded.name, loaded.labels) == ("insects", ("ant", "bee"))
    expected = trained.module.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.module.state_dict().items())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Save a tiny classifier of transformers into a directory with a dot and a colon in its name."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=8, id2label={0: "ant", 1: "bee"})
    directory = tmp_path / "vit:v1.0"
    transformers.ViTForImageClassification(config).save_pretrained(directory)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(directory)
    return directory


def test_a_directory_of_transformers_lies_beside_the_suite(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for factory, directory in (("transformers:vit:v1.0", saved.parent), (f"transformers:{saved}", None)):
        assert load_classifier(factory, {}, None, directory).labels == ("ant", "bee")
    monkeypatch.chdir(saved.parent)
    assert load_classifier("transformers:./vit:v1.0").name == "vit:v1.0"


def test_a_directory_of_transformers_that_is_not_there_is_told_with_its_path(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConversionError, match="absent is no directory, and no name of the hub") as caught:
        load_classifier("transformers:./absent", directory=tmp_path)
    assert str(tmp_path / "absent") in str(caught.value)


def test_a_model_has_a_name_behind_its_library() -> None:
    assert refused("timm:").startswith("timm:: a model is a name in the suite file, ")


# What is no model


@pytest.mark.parametrize("factory", ["small", ":small", "models.py:", ""])
def test_a_factory_has_two_halves(factory: str) -> None:
    assert refused(factory) == (
        f"{factory}: a model is a name in the suite file, `file.py:callable`, `package.module:callable`, "
        "`torchvision:name`, `timm:name` or `transformers:directory`"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused("nets.py:small", tmp_path) == f"{tmp_path / 'nets.py'}: no such file"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "nets.py").mkdir()

    assert (
        refused("nets.py:small", tmp_path)
        == f"{tmp_path / 'nets.py'}: is a directory, not a file; name a file in it"
    )


def test_a_module_that_is_not_installed_is_named() -> None:
    told = refused("no_such_package.nets:small")

    assert told == (
        "no_such_package.nets: cannot be imported (No module named 'no_such_package'); is it installed, or on "
        "PYTHONPATH?"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_package", "fails on import with ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "fails on import with ZeroDivisionError: division by zero"),
        ("def small(:", "fails on import with SyntaxError: "),
    ],
)
def test_a_file_that_fails_on_import_is_told_with_its_error(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(text, encoding="utf-8")

    for _ in range(2):  # a module that has failed is not remembered
        assert refused("nets.py:small", tmp_path).startswith(f"{tmp_path / 'nets.py'}: {told}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("smal", "no callable `smal` there; did you mean small?"),
        ("smallest", "no callable `smallest` there; did you mean small?"),
        ("resnet50", "no callable `resnet50` there"),
    ],
)
def test_a_missing_callable_is_told_with_the_nearest(name: str, told: str, models: Path) -> None:
    assert refused(f"{models}:{name}") == f"{models}:{name}: {told}"


def test_what_is_no_classifier_is_named(models: Path) -> None:
    assert refused(f"{models}:nothing") == (
        f"{models}:nothing: returns a NoneType; a factory returns a conversion.Classifier "
        "(module, preprocessing, labels)"
    )


def test_an_error_in_the_factory_is_told(models: Path) -> None:
    assert refused(f"{models}:broken") == f"{models}:broken: the factory fails with ValueError: no weights here"


def test_an_argument_that_the_factory_does_not_take_is_told(models: Path) -> None:
    told = refused(f"{models}:small", width=3)

    assert told.startswith(f"{models}:small: the factory fails with TypeError: small() got an unexpected keyword")
    assert "width" in told


ENDING = """
import argparse
import asyncio
import sys

import pytest

def exits():
    sys.exit(0)

def parses():
    argparse.ArgumentParser().parse_args(["--no-such"])

def cancels():
    raise asyncio.CancelledError

def generates():
    raise GeneratorExit

def skips():
    pytest.skip("not today")

def leaves():
    pytest.exit("enough", returncode=0)

def __getattr__(name):
    raise SystemExit(0)
"""


@pytest.mark.parametrize(
    ("function", "raised"),
    [
        ("exits", "SystemExit: 0"),
        ("parses", "SystemExit: 2"),
        ("cancels", "CancelledError"),
        ("generates", "GeneratorExit"),
        ("skips", "Skipped: not today"),
        ("leaves", "Exit: enough"),
    ],
)
def test_a_factory_that_would_end_the_process_is_an_error(models: Path, function: str, raised: str) -> None:
    models.write_text(ENDING, encoding="utf-8")

    with pytest.raises(ConversionError) as caught:
        load_classifier(f"{models}:{function}")

    assert str(caught.value) == (
        f"{models}:{function}: models.py:{function} raises {raised}, which would end everything without a result; "
        "raise an Exception that says why"
    )
    with pytest.raises(ConversionError, match="models.py:__getattr__ raises SystemExit: 0"):
        load_classifier(f"{models}:other")


def test_a_file_that_would_end_the_process_is_an_error_every_time(models: Path) -> None:
    models.write_text("import sys\nsys.exit(0)", encoding="utf-8")

    for _ in range(2):
        with pytest.raises(ConversionError, match=r"models.py:small: models.py:<module> raises SystemExit: 0, "):
            load_classifier(f"{models}:small")


def test_an_error_of_several_lines_is_told_in_one(models: Path) -> None:
    models.write_text("def small(): raise ValueError('no\\nweights')", encoding="utf-8")

    assert refused(f"{models}:small") == f"{models}:small: the factory fails with ValueError: no weights"


def test_a_conversion_error_of_the_factory_passes_through(models: Path) -> None:
    text = "from conversion import ConversionError\ndef small():\n    raise ConversionError('no weights file')"
    models.write_text(text, encoding="utf-8")

    with pytest.raises(ConversionError, match="^no weights file$"):
        load_classifier(f"{models}:small")


def test_a_factory_imports_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_small_net.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "models.py").write_text(
        "def small():\n    import my_small_net\n    return my_small_net.small()\n", encoding="utf-8"
    )

    assert load_classifier("models.py:small", directory=tmp_path).name == "small"
    del sys.modules["my_small_net"]


def test_a_file_beside_the_factory_does_not_hide_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "rich.py").write_text("raise RuntimeError('the wrong one')\n", encoding="utf-8")
    (tmp_path / "models.py").write_text(GOOD + "\nimport rich.table\n", encoding="utf-8")

    assert load_classifier("models.py:small", directory=tmp_path).name == "small"
