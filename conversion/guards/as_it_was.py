"""A user's module comes out of a conversion as it went in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def as_it_was(module: torch.nn.Module) -> Iterator[None]:
    """Give every part of a module its own attributes back.

    torch.export puts equal copies in the place of lists, tuples and dictionaries that parts hold. What two parts
    shared is two objects then, and a module that says so is another one to whoever looks at it closely.
    """
    before = [(part, dict(vars(part))) for part in module.modules()]
    try:
        yield
    finally:
        for part, attributes in before:
            now = vars(part)
            for name in now.keys() - attributes.keys():
                del now[name]
            now.update(attributes)
