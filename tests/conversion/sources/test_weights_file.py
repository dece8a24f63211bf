"""What torchvision's models show of it stands in test_torchvision_models.py; here is what is left."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from conversion.errors import ConversionError
from conversion.sources.weights_file import load_weights, one_line, read_weights, unwrapped


def linear() -> torch.nn.Module:
    return torch.nn.Sequential(OrderedDict(head=torch.nn.Linear(2, 3)))


STATE = {"head.weight": torch.arange(6.0).reshape(3, 2), "head.bias": torch.tensor([7.0, 8.0, 9.0])}


def test_a_file_is_read_and_every_weight_arrives(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "mine.pth")
    module = linear()
    load_weights(module, read_weights(tmp_path / "mine.pth"), "mine.pth")
    assert module(torch.ones(1, 2)).tolist() == [[1.0 + 7, 5.0 + 8, 9.0 + 9]]


def test_keys_are_named_as_the_module_does_and_some_are_left_out() -> None:
    module = linear()
    stored = {f"old.{key}": value for key, value in STATE.items()} | {"aux.weight": torch.zeros(1)}
    load_weights(module, stored, "mine", lambda key: "" if key.startswith("aux.") else key.removeprefix("old."))
    assert torch.equal(module.state_dict()["head.bias"], STATE["head.bias"])


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"head.weight": STATE["head.weight"]}, "mine does not fit the model, by keys: 1 missing (head.bias). "),
        (STATE | {"tail": torch.zeros(1)}, "mine does not fit the model, by keys: 1 unexpected (tail). "),
        (
            STATE | {"head.bias": torch.zeros(2)},
            "mine does not fit the model, by keys: 1 different (head.bias [2] ",
        ),
        ([1], "mine: found list instead of a state dict"),
        ({"epoch": 3}, "mine: found a dict with 'epoch' instead of a state dict"),
    ],
)
def test_what_does_not_fit_is_refused(state: object, told: str) -> None:
    with pytest.raises(ConversionError) as caught:
        load_weights(linear(), state, "mine")
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "checkpoint",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {"model": {"head.weight": torch.zeros(3, 2)}, "model_ema": STATE},
        {"state_dict": {"head.weight": torch.zeros(3, 2)}, "state_dict_ema": STATE, "arch": "x"},
        {"state_dict": {f"module.{key}": value for key, value in STATE.items()}},
        {"state_dict": {f"_orig_mod.module.{key}": value for key, value in STATE.items()}},
    ],
    ids=["bare", "state_dict", "model", "model_ema", "state_dict_ema", "parallel", "compiled"],
)
def test_a_checkpoint_of_a_training_is_unwrapped(checkpoint: object) -> None:
    """The mean of the weights over the training comes first: it is what the training was judged by."""
    state = unwrapped(checkpoint)
    assert set(state) == set(STATE)
    assert all(torch.equal(state[key], value) for key, value in STATE.items())


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": None}, "text"])
def test_what_is_no_checkpoint_stays_what_it_is(content: object) -> None:
    assert unwrapped(content) == content


def test_an_error_is_one_line_whatever_it_says() -> None:
    assert one_line(ValueError("first\n  second")) == "first second"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(one_line(ValueError("long " * 100))) <= 200
