"""`parity init`: the files that it writes, its first run, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.starting.files import MARK
from parity.suite.models import find_classifier
from parity.suite.suite import read_suite
from tests.parity.commands.command import Parity, Refused, lay_out
from tests.parity.foreign import export, program, softmax
from tests.parity.tiny import LABELS

MODEL = ("init", "mine.py:tiny", "--images", "photos")
WRITTEN = ("parity.toml", ".github/workflows/parity.yml")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return lay_out(tmp_path, factories="mine.py")


def test_a_classifier_is_converted_and_judged_at_once(place: Path, parity: Parity) -> None:
    done = parity(*MODEL)

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:2] == ["wrote .github/workflows/parity.yml", "wrote parity.toml"]
    assert lines[-1] == "parity holds: 3 pass, 1 skipped"
    for name in WRITTEN:
        assert (place / name).read_text(encoding="utf-8").startswith(f"{MARK}; yours to change")
    assert not (place / "models.py").exists()
    again = parity("run")
    assert (again.code, again.out.splitlines()) == (0, lines[-len(again.out.splitlines()) :])


def test_a_bare_network_gets_a_models_file(place: Path, parity: Parity) -> None:
    done = parity("init", "mine.py:Tiny", "--images", "photos/*.png")

    assert (done.code, done.err) == (0, "")
    assumed = [line for line in done.out.splitlines() if line.startswith("assumed, confirm it: ")]
    assert [line.split(": ")[1].split()[0] for line in assumed] == [
        *("mine.py:Tiny", "size", "resize", "mean", "labels", "answers", "CI"),
    ]
    assert done.out.splitlines()[-1] == "parity holds: 3 pass, 1 skipped"
    # What is written makes what was tried, and says at each line what is assumed.
    text = (place / "models.py").read_text(encoding="utf-8")
    assert text.startswith(MARK)
    assert text.count("# Assumed") == 6
    written = find_classifier("models.py:classifier", None)
    assert (written.name, written.labels) == ("Tiny", tuple("01234567"))
    assert (written.preprocessing.size, written.preprocessing.resize) == ((32, 32), 37)
    assert not written.module.training


def test_finished_files_are_stated_and_pass(place: Path, parity: Parity) -> None:
    export(place / "bare.onnx")
    program(place / "bare.mlpackage")

    done = parity(*MODEL, "bare.onnx", "*.mlpackage")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "parity holds: 3 pass, 1 skipped"
    text = (place / "parity.toml").read_text(encoding="utf-8")
    assert '{ path = "bare.onnx", inside = [] }' in text
    assert '{ path = "bare.mlpackage", inside = [] }' in text
    assert "assumed, confirm it: bare.onnx: what the file does itself, as measured on these images" in done.out
    # It is stated now: nothing of it is left to a measurement.
    assert parity("run", "--strict").code == 0


def test_names_of_a_finished_file_are_taken_for_a_bare_network(place: Path, parity: Parity) -> None:
    program(place / "app.mlpackage", None, softmax, labels=list(LABELS))

    done = parity("init", "mine.py:Tiny", "app.mlpackage", "--images", "photos")

    assert done.code == 0
    assert find_classifier("models.py:classifier", None).labels == LABELS


def test_a_module_in_training_mode_is_refused_before_anything_is_written(place: Path, parity: Parity) -> None:
    (place / "training.py").write_text(
        "import mine\nfrom dataclasses import replace\n"
        "def model(): return replace(mine.tiny(), module=mine.tiny().module.train())\n",
        encoding="utf-8",
    )

    done = parity("init", "training.py:model", "--images", "photos")

    assert done.code == 2
    assert "the module is in training mode" in done.err
    assert not (place / "parity.toml").exists()


def test_a_broken_file_fails_and_says_why(place: Path, parity: Parity) -> None:
    export(place / "broken.onnx", lambda image: 1.3 * image.flip(1), softmax)

    done = parity(*MODEL, "broken.onnx")

    assert done.code == 1
    assert "[pre-bgr-swap]" in done.out
    assert done.out.splitlines()[-1] == (
        "parity init: the suite is written, and parity does not hold: what is printed above says where and why"
    )
    assert "restores parity on these images" in (place / "parity.toml").read_text(encoding="utf-8")


def test_an_untrained_network_proves_nothing_and_that_is_said(parity: Parity) -> None:
    done = parity("init", "mine.py:untrained", "--images", "photos")

    assert done.code == 3
    assert "an untrained network?" in done.out
    assert done.out.splitlines()[-1].startswith("parity init: the suite is written, and proves nothing yet")


def test_another_directory_gets_all_of_it_and_is_not_run(place: Path, parity: Parity) -> None:
    (place / "suite").mkdir()

    done = parity(*MODEL, "--directory", "suite", "--no-run")

    assert (done.code, done.err) == (0, "")
    assert "parity holds" not in done.out
    assert all((place / "suite" / name).is_file() for name in WRITTEN)
    (entry,) = read_suite(place / "suite" / "parity.toml").models
    assert (entry.factory, entry.images) == ("../mine.py:tiny", ("../photos",))
    assert find_classifier("tiny", place / "suite" / "parity.toml").labels == LABELS
    assert not (place / "parity.toml").exists()


@pytest.mark.parametrize("taken", [*WRITTEN, "models.py"])
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_what_somebody_else_wrote_is_never_overwritten(
    taken: str, force: tuple[str, ...], place: Path, refused: Refused
) -> None:
    (place / taken).parent.mkdir(parents=True, exist_ok=True)
    (place / taken).write_text("# mine\n", encoding="utf-8")
    before = contents(place)

    told = refused("init", "mine.py:Tiny", "--images", "photos", *force)

    assert told.startswith(f"{taken}: is there already, and `parity init` did not write it")
    assert contents(place) == before


def test_what_it_wrote_itself_is_overwritten_by_force_alone(place: Path, parity: Parity, refused: Refused) -> None:
    assert parity(*MODEL, "--no-run").code == 0
    before = contents(place)

    assert refused(*MODEL) == "parity.toml: is there already; --force overwrites it"
    assert contents(place) == before
    assert parity("init", "mine.py:untrained", "--images", "photos", "--no-run", "--force").code == 0
    assert [entry.name for entry in read_suite(place / "parity.toml").models] == ["untrained"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mine.py:tiny", "--images", "gone"), "gone does not exist"),
        (("mine.py:tiny", "--images", "mine.py"), "not an image that Pillow can read"),
        (("mine.py:tiny",), "Missing option '--images'"),
        (("tiny", "--images", "photos"), "tiny: MODEL is `file.py:callable`"),
        (("gone.py:tiny", "--images", "photos"), "gone.py: no such file"),
        (("mine.py:tinny", "--images", "photos"), "did you mean tiny?"),
        (("mine.py:pictures", "--images", "photos"), "returns a list; a factory returns a conversion.Classifier"),
        (("torchvision:resnett", "--images", "photos"), "torchvision has no classification model 'resnett'"),
        (("mine.py:tiny", "gone.onnx", "--images", "photos"), "gone.onnx: no such file"),
        (("mine.py:tiny", "torn.onnx", "--images", "photos"), "torn.onnx: not an ONNX model, or a truncated one"),
        (("mine.py:tiny", "photos/picture0.png", "--images", "photos"), "put a pattern in quotes"),
        (("mine.py:tiny", "--images", "photos", "--directory", "gone"), "Directory 'gone' does not exist"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], told: str, place: Path, refused: Refused
) -> None:
    (place / "torn.onnx").write_bytes(b"\x08\x07\x12")
    before = contents(place)

    assert told in refused("init", *arguments)
    assert contents(place) == before


def contents(place: Path) -> dict[str, bytes]:
    """Read all files of a directory, but for what Python compiles."""
    files = [path for path in sorted(place.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(place)): path.read_bytes() for path in files}
