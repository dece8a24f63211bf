"""How a suite file names what a command line names, and what is said of images and places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity import ParityError
from parity.starting.network import StartingModel
from parity.starting.plan import finished_files, from_suite, make_plan, reference_from_suite
from tests.parity.commands.command import lay_out
from tests.parity.tiny import noises, save_pictures, tiny

MODEL = StartingModel("models.py:tiny", tiny())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work" / "suite").mkdir(parents=True)
    monkeypatch.chdir(lay_out(tmp_path / "work"))
    return tmp_path / "work"


def test_paths_are_relative_to_the_suite(home: Path) -> None:
    assert from_suite("photos/", Path()) == "photos"
    assert from_suite("photos/*.png", Path("suite")) == "../photos/*.png"
    assert from_suite("suite/a.png", Path("suite")) == "a.png"
    assert from_suite(str(home / "suite" / "a.png"), Path("suite")) == "a.png"
    assert from_suite("/elsewhere/**/*.png", Path("suite")) == "/elsewhere/**/*.png"


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("models.py:tiny", "../models.py:tiny"),
        ("package.module:tiny", "package.module:tiny"),
        ("torchvision:resnet18", "torchvision:resnet18"),
        ("torchvision:resnet18@DEFAULT", "torchvision:resnet18@DEFAULT"),
        ("torchvision:resnet18@weights.pth", "torchvision:resnet18@../weights.pth"),
        ("scheme:photos", "scheme:../photos"),
    ],
)
def test_a_model_is_named_from_the_suite(model: str, named: str, home: Path) -> None:
    (home / "weights.pth").touch()

    assert reference_from_suite(model, Path("suite")) == named


@pytest.mark.parametrize("model", ["tiny", "models.py", ":tiny", "models.py:"])
def test_a_name_in_a_suite_is_no_model_to_begin_with(model: str) -> None:
    with pytest.raises(ParityError, match="MODEL is `file.py:callable`"):
        reference_from_suite(model, Path())


@pytest.mark.usefixtures("home")
def test_finished_files_are_listed_once_and_patterns_are_ours() -> None:
    Path("a[1].onnx").touch()
    Path("b.onnx").touch()

    listed = finished_files(["b.onnx", "*.onnx", "a[1].onnx", "gone.onnx"])

    assert listed == [Path("b.onnx"), Path("a[1].onnx"), Path("gone.onnx")]


@pytest.mark.usefixtures("home")
def test_enough_photos_need_no_word() -> None:
    plan = make_plan(MODEL, (), ["photos"], Path())

    assert (plan.images, plan.routes, plan.on_apple, plan.remarks) == (("photos",), ("onnx", "mlprogram"), True, ())


def test_few_images_noise_and_what_lies_elsewhere_get_a_word(home: Path) -> None:
    save_pictures(home / "noise", noises)

    def remarks(*images: str, directory: str = ".") -> str:
        return "\n".join(make_plan(MODEL, (), images, Path(directory)).remarks)

    assert remarks("photos/picture1.png", "photos/picture2.png").startswith("2 image(s) say little: give 4 photos")
    assert remarks("noise").startswith("the images are noise")
    assert "../photos lies outside of" in remarks("photos", directory="suite")
    (home / ".git").mkdir()
    assert f"GitHub reads workflows only in {home}" in remarks("photos", directory="suite")
    assert "lies outside" not in remarks("photos", directory="suite")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("scheme", "extra"), [("timm", "[timm]"), ("transformers", "[transformers]")])
def test_ci_installs_the_library_of_the_model(scheme: str, extra: str) -> None:
    plan = make_plan(replace(MODEL, reference=f"{scheme}:net"), (), ["photos"], Path())

    assert plan.installs[0].startswith(f"'coreml-parity{extra}==")
    assert make_plan(MODEL, (), ["photos"], Path()).installs[0].startswith("coreml-parity==")


def test_ci_installs_what_the_directory_asks_for(home: Path) -> None:
    def installs() -> tuple[str, ...]:
        return make_plan(MODEL, (), ["photos"], Path()).installs[1:]

    assert installs() == ()
    (home / "pyproject.toml").touch()
    assert installs() == (".",)
    (home / "requirements.txt").touch()
    assert installs() == ("-r requirements.txt",)
