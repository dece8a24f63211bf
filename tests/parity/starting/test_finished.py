"""What is written of a finished file: nothing where it says it, what was measured where nobody does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from conversion.contract import Contract
from conversion.guards.quiet import chatter_to
from parity.backends.reference import Reference, make_reference
from parity.starting.finished import DECLARED, MEASURED, UNKNOWN, Finished, finished_entry
from parity.suite.images import load_images
from tests.parity.foreign import NAMES, Foreign, export, normalise, program, softmax
from tests.parity.tiny import PREPROCESSING, converted, pictures, tiny


@cache
def reference() -> Reference:
    return make_reference(tiny(), load_images(pictures(), PREPROCESSING))


def entry(path: Path) -> Finished:
    return finished_entry(path, path.name, tiny(), reference)


class Both(torch.nn.Module):
    """Answers the logits of another order first, the right ones second."""

    def __init__(self) -> None:
        super().__init__()
        self.module = Foreign()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.module(image)
        return logits.flip(1), logits


@pytest.mark.parametrize(
    ("make", "inside", "numbers"),
    [
        (lambda home: export(home / "a.onnx"), (), "0..255"),
        (lambda home: export(home / "a.onnx", normalise, softmax), ("normalise", "softmax"), "0..1"),
        (lambda home: program(home / "a.mlpackage"), (), "0..255"),
        (lambda home: program(home / "a.mlpackage", None, softmax, labels=NAMES), ("softmax", "labels"), "0..255"),
    ],
)
def test_what_nobody_says_is_measured(
    make: Callable[[Path], Path], inside: tuple[str, ...], numbers: str, tmp_path: Path
) -> None:
    finished = entry(make(tmp_path))

    assert finished.about == MEASURED
    assert finished.stated is not None
    assert (finished.stated.inside, finished.stated.range) == (inside, numbers)
    assert (finished.stated.layout, finished.stated.output) == ("", "")


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32"])
def test_what_a_file_declares_is_not_stated(route: str) -> None:
    path = converted(route).path

    assert entry(path) == Finished(path.name, None, DECLARED)


def test_the_right_one_of_several_outputs_is_stated(tmp_path: Path) -> None:
    path = tmp_path / "both.onnx"
    with chatter_to():
        torch.onnx.export(
            *(Both().eval(), (torch.rand(1, 3, 32, 32),), str(path)),
            input_names=["input"],
            output_names=["other", "wanted"],
            dynamo=False,
        )

    assert entry(path).stated == Contract((), output="wanted")


def test_channels_last_are_stated_where_an_open_shape_does_not_say_it(tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    with chatter_to():
        torch.onnx.export(
            *(Foreign(lambda image: image.permute(0, 3, 1, 2)).eval(), (torch.rand(1, 32, 32, 3),), str(path)),
            input_names=["input"],
            dynamic_axes={"input": dict(enumerate("nhwc"))},
            dynamo=False,
        )

    assert entry(path).stated == Contract((), layout="NHWC")


def test_of_a_wrong_file_nothing_is_stated(tmp_path: Path) -> None:
    wrong = export(tmp_path / "wrong.onnx", lambda image: 1.3 * image.flip(1), softmax)

    assert entry(wrong) == Finished("wrong.onnx", None, UNKNOWN)


def test_a_path_stands_for_itself_and_is_no_pattern() -> None:
    path = converted("onnx-torchscript").path

    assert finished_entry(path, "a[1].onnx", tiny(), reference).path == "a[[]1].onnx"
