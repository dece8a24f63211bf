"""What a user's code must not raise is an error that names it; what it may raise, and Ctrl-C, stay as they are."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conversion import Classifier, ConversionError, Preprocessing, convert
from conversion.deployed import check_model, deployed_module
from conversion.guards.user_code import UserCodeError, place_of, told_error, user_code


def raising(error: BaseException) -> Callable[[], None]:
    def net() -> None:
        raise error

    return net


class SilentError(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (SystemExit(), "SystemExit"),
        (SystemExit("needs\na GPU"), "SystemExit: needs a GPU"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (BaseException("of one's own"), "BaseException: of one's own"),
        (pytest.skip.Exception("not today"), "Skipped: not today"),
        (pytest.exit.Exception("enough", 0), "Exit: enough"),
    ],
)
def test_what_would_end_a_process_or_a_test_is_an_error_with_a_name(error: BaseException, told: str) -> None:
    with pytest.raises(UserCodeError) as caught, user_code("models.py:net"):
        raising(error)()

    assert str(caught.value) == (
        f"models.py:net: test_user_code.py:raising.<locals>.net raises {told}, which would end everything without "
        "a result; raise an Exception that says why"
    )
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ValueError("no weights"), KeyboardInterrupt(), ConversionError("no labels")])
def test_an_exception_and_an_interruption_stay_themselves(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, user_code("models.py:net"):
        raising(error)()

    assert caught.value is error


def test_who_called_the_standard_library_or_pytest_is_named() -> None:
    def parses() -> None:
        argparse.ArgumentParser(exit_on_error=True).parse_args(["--no-such"])

    def skips() -> None:
        pytest.skip("not today")

    for function in (parses, skips):
        with pytest.raises((SystemExit, pytest.skip.Exception)) as caught:
            function()
        assert place_of(caught.value).endswith(f"<locals>.{function.__name__}")


def test_an_error_whose_text_cannot_be_made_is_told_by_its_class() -> None:
    assert told_error(SilentError()) == "SilentError"


# A module's forward


class Quitting(torch.nn.Module):
    """Answer until it is asked for what `quits` says, then leave."""

    def __init__(self, quits: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(12, 2)
        self.quits = quits

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.quits(image):
            sys.exit(0)
        logits: torch.Tensor = self.linear(torch.flatten(image, 1))
        return logits


def quitting(quits: Callable[[torch.Tensor], bool]) -> Classifier:
    return Classifier("quitter", Quitting(quits).eval(), Preprocessing(size=(2, 2)), ("ant", "bee"))


@pytest.mark.parametrize(
    "call",
    [
        check_model,
        lambda classifier: deployed_module(classifier)(torch.zeros(1, 3, 2, 2)),
        lambda classifier: convert(classifier, "onnx-torchscript", "unused"),
    ],
)
def test_a_forward_that_exits_is_an_error(call: Callable[[Classifier], Any]) -> None:
    with pytest.raises(
        ConversionError, match=r"^quitter: test_user_code.py:Quitting.forward raises SystemExit: 0, "
    ):
        call(quitting(lambda image: True))


def test_a_forward_that_exits_while_it_is_traced_is_a_failed_conversion(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"^quitter: test_user_code.py:Quitting.forward raises SystemExit: 0, "
    ):
        convert(quitting(lambda image: torch.jit.is_tracing()), "onnx-torchscript", tmp_path)

    assert not list(tmp_path.rglob("*.onnx"))
