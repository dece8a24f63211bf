"""PyTorch's own defaults, whatever the user set: tensors are made on the CPU, in fp32.

Every `torch.zeros` without a device goes where `torch.set_default_device` says, and every float literal becomes
what `torch.set_default_dtype` says. What is compared here is computed on the CPU in fp32, in our code and in the
libraries that we call, so both are put back for as long as we work, and are as the user left them afterwards.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Work with PyTorch's own default device and dtype; the user's are back afterwards, also after an error."""
    if "torch" not in sys.modules:  # nobody can have set anything
        yield
        return
    import torch

    dtype = torch.get_default_dtype()
    if dtype is not torch.float32:
        torch.set_default_dtype(torch.float32)
    try:
        if torch.get_default_device().type == "cpu":
            yield
        else:
            # As a context it holds against `with torch.device(...)` around us, and needs no undoing.
            with torch.device("cpu"):
                yield
    finally:
        if dtype is not torch.float32:
            torch.set_default_dtype(dtype)


@contextmanager
def kept_torch_defaults() -> Iterator[None]:
    """Run a user's code, and take back afterwards what it sets as default device and dtype."""
    import torch

    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    try:
        yield
    finally:
        if torch.get_default_dtype() is not dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)


def with_torch_defaults(function: Function) -> Function:
    """Let a function, or each step of a generator, work under `torch_defaults`."""
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def stepwise(*args: Any, **kwargs: Any) -> Iterator[Any]:
            steps = function(*args, **kwargs)
            while True:
                # What the caller does between two steps is the caller's.
                with torch_defaults():
                    try:
                        step = next(steps)
                    except StopIteration:
                        return
                yield step

        return cast(Function, stepwise)

    @wraps(function)
    def whole(*args: Any, **kwargs: Any) -> Any:
        with torch_defaults():
            return function(*args, **kwargs)

    return cast(Function, whole)
