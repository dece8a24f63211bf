"""A user's default device and dtype: nothing here depends on them, and they stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from conversion import ROUTES, convert
from conversion.guards.torch_defaults import kept_torch_defaults, torch_defaults, with_torch_defaults
from parity import check
from parity.artifacts.answers import predict_top
from parity.artifacts.causes import look_into
from parity.coreml import Evaluator
from parity.stream.engines import stream
from parity.suite.models import load_classifier
from tests.parity.stream.jobs import job_over, save_suite
from tests.parity.tiny import pictures as tiny_pictures
from tests.parity.tiny import save_pictures, tiny


@pytest.fixture(params=["device", "dtype", "context"])
def users_own(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set what a script for a GPU sets. `meta` is a device that every machine has, and that holds no numbers."""
    try:
        if request.param == "context":
            with torch.device("meta"):
                yield
        else:
            if request.param == "device":
                torch.set_default_device("meta")
            else:
                torch.set_default_dtype(torch.float64)
            yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def defaults() -> tuple[str, torch.dtype]:
    return torch.get_default_device().type, torch.get_default_dtype()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.usefixtures("users_own")
def test_a_users_defaults_change_nothing_and_stay(route: str, tmp_path: Path) -> None:
    before = defaults()
    with torch_defaults():
        classifier = tiny()
        pictures = save_pictures(tmp_path / "pictures")

    artifact = convert(classifier, route, tmp_path)
    run = check(classifier, artifact, [str(pictures)])
    answer = next(predict_top(artifact.path, [str(next(pictures.iterdir()))]))

    assert {subject.verdict for subject in run.subjects} <= {"pass", "skipped"}
    assert run.exit_code == 0
    assert answer.top[0][1] > 0.1
    assert defaults() == before


@pytest.mark.usefixtures("users_own")
def test_an_explanation_does_not_depend_on_them(tmp_path: Path) -> None:
    before = defaults()
    with torch_defaults():
        classifier = tiny()
        pictures = save_pictures(tmp_path / "pictures")
    artifact = convert(classifier, "onnx-torchscript", tmp_path)

    look_into(classifier, artifact, [str(pictures)])

    assert defaults() == before


@pytest.mark.parametrize("route", ["mlprogram", "onnx-coreml"])
@pytest.mark.usefixtures("users_own")
def test_the_evaluator_by_itself_does_not_depend_on_them(route: str, tmp_path: Path) -> None:
    before = defaults()
    with torch_defaults():
        classifier = tiny()
        artifact = convert(classifier, route, tmp_path)
        expected = Evaluator(artifact.path).predict({"image": tiny_pictures()[0]})

    evaluator = Evaluator(artifact.path)
    answer = evaluator.predict({"image": tiny_pictures()[0]})
    values = evaluator.trace({"image": tiny_pictures()[0]})

    assert answer == expected
    assert values
    assert defaults() == before


@pytest.mark.usefixtures("users_own")
def test_a_streamed_run_does_not_depend_on_them(tmp_path: Path) -> None:
    before = defaults()
    with torch_defaults():
        save_suite(tmp_path)
        save_pictures(tmp_path / "pictures")
        job = job_over(tmp_path / "pictures", tmp_path)

    streamed = stream(job)

    assert streamed.run.exit_code == 0
    assert defaults() == before


def test_what_a_factory_sets_does_not_outlive_it(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import torch\nfrom tests.parity.tiny import tiny\n"
        "def loud():\n    made = tiny()\n    torch.set_default_device('meta')\n"
        "    torch.set_default_dtype(torch.float64)\n    return made\n",
        encoding="utf-8",
    )

    load_classifier("loud.py:loud", directory=tmp_path)

    assert defaults() == ("cpu", torch.float32)


def set_and_fail() -> None:
    with kept_torch_defaults():
        torch.set_default_dtype(torch.float16)
        1 / 0  # noqa: B018


def test_an_error_inside_leaves_them_as_they_were() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ZeroDivisionError), torch_defaults():
            1 / 0  # noqa: B018
        assert defaults() == ("cpu", torch.float64)
        with pytest.raises(ZeroDivisionError):
            set_and_fail()
        assert defaults() == ("cpu", torch.float64)
    finally:
        torch.set_default_dtype(torch.float32)


def test_between_two_steps_of_a_generator_the_users_hold() -> None:
    @with_torch_defaults
    def steps() -> Iterator[torch.dtype]:
        yield torch.get_default_dtype()
        yield torch.get_default_dtype()

    torch.set_default_dtype(torch.float64)
    try:
        assert [(inside, torch.get_default_dtype()) for inside in steps()] == [(torch.float32, torch.float64)] * 2
    finally:
        torch.set_default_dtype(torch.float32)
