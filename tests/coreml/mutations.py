"""Damage for fuzz.py: to bytes, and to the fields of a model's specification."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Damage bytes: flip, set, insert, delete, repeat or cut off, once to four times."""
    damaged = bytearray(content)
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        at = generator.randrange(len(damaged)) if damaged else 0
        length = generator.choice((1, 1, 2, 4, 16))
        kind = generator.choice(("flip", "flip", "set", "set", "insert", "delete", "repeat", "cut"))
        if kind == "flip" and damaged:
            damaged[at] ^= 1 << generator.randrange(8)
        elif kind == "set":
            damaged[at : at + length] = generator.choice((b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff")) * length
        elif kind == "insert":
            damaged[at:at] = generator.randbytes(length)
        elif kind == "delete":
            del damaged[at : at + length]
        elif kind == "repeat":
            damaged[at:at] = damaged[at : at + length * 8]
        elif kind == "cut":
            del damaged[at:]
    return bytes(damaged)


_NUMBERS = (0, 1, 2, 3, 7, -1, 100, 255, 65536, 2**31 - 1, -(2**31), 2**40, 2**63 - 1)
_FLOATS = (0.0, -1.0, 1e-30, 1e38, float("inf"), float("nan"))


def mutate_message(content: bytes, generator: random.Random) -> bytes:
    """Damage one to three fields of a model's specification."""
    from conversion.guards.quiet import import_coremltools

    message = import_coremltools().proto.Model_pb2.Model.FromString(content)
    for _ in range(generator.choice((1, 1, 2, 3))):
        # From the top most ways end soon; what stands deep, the numbers of operations, is chosen on its own.
        places = list(_places(message)) if generator.random() < 0.7 else []
        _damage_field(generator.choice(places or [message]), generator)
    return bytes(message.SerializeToString(deterministic=True))


def _places(message: Any) -> Iterator[Any]:
    """List the messages that hold numbers or texts themselves, once for each."""
    for field, value in message.ListFields():
        if field.message_type is None:
            yield message
        elif field.message_type.GetOptions().map_entry:
            values = [value[key] for key in sorted(value)]
            for one in values:
                yield from _places(one) if hasattr(one, "ListFields") else ()
        else:
            for one in value if hasattr(value, "append") else [value]:
                yield from _places(one)


def _damage_field(message: Any, generator: random.Random) -> None:
    fields = message.ListFields()
    if not fields:
        return
    field, value = generator.choice(fields)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key = generator.choice(sorted(value))
        if generator.random() < 0.1:
            del value[key]
        elif field.message_type.fields_by_name["value"].message_type is not None:
            _damage_field(value[key], generator)
        else:
            value[key] = _other(value[key], generator)
    elif hasattr(value, "append"):
        at = generator.randrange(len(value))
        action = generator.random()
        if action < 0.1:
            del value[at]
        elif action < 0.2:
            value.append(value[at])
        elif field.message_type is not None:
            _damage_field(value[at], generator)
        else:
            _try(value.__setitem__, at, _other(value[at], generator))
    elif field.message_type is not None and generator.random() > 0.05:
        _damage_field(value, generator)
    elif field.message_type is not None or generator.random() < 0.1:
        message.ClearField(field.name)
    else:
        _try(setattr, message, field.name, _other(value, generator))


def _try(change: Callable[..., None], *arguments: Any) -> None:
    # A number that the field's type cannot hold is no damage that a file can have.
    with contextlib.suppress(ValueError, TypeError):
        change(*arguments)


def _other(value: Any, generator: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return generator.choice((*_NUMBERS, value + 1, value - 1, value ^ (1 << generator.randrange(8))))
    if isinstance(value, float):
        return generator.choice((*_FLOATS, -value, value * 2))
    if isinstance(value, bytes):
        return mutate(value, generator)
    return generator.choice(("", value + "_", value[:-1], value[::-1], "x\n\x1b[1m", "../" + value))
