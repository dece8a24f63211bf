"""ML Programs that ask for what no machine has, never end, or declare what their values contradict."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.attack.attack import FAILS, NOT_GREEN, REFUSED, Attack
from tests.attack.families.images import SPECIAL

PREDICT = ("parity", "predict", "evil.mlpackage", "pictures/picture0.png")
CHECK = ("parity", "check", "models.py:tiny", "evil.mlpackage", "--images", "pictures", "--no-explain")
Change = Callable[[Any], None]


def operations(specification: Any) -> Any:
    """Return the operations of the main function."""
    function = specification.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def operation(specification: Any, kind: str) -> Any:
    """Return the first operation of a kind."""
    return next(entry for entry in operations(specification) if entry.type == kind)


def constant_of(specification: Any, kind: str, argument: str) -> Any:
    """Return the operation `const` that is an argument of the first operation of a kind."""
    name = operation(specification, kind).inputs[argument].arguments[0].name
    return next(entry for entry in operations(specification) if entry.outputs[0].name == name)


def set_integers(specification: Any, kind: str, argument: str, values: list[int]) -> None:
    """Write other integers into an argument; what the operation gives is then declared as open."""
    constant = constant_of(specification, kind, argument)
    tensor = constant.attributes["val"].immediateValue.tensor
    del tensor.ints.values[:]
    tensor.ints.values.extend(values)
    opened = False
    for entry in operations(specification):
        opened = opened or entry.type == kind
        if opened and entry.type != "const":
            for output in entry.outputs:
                for axis in output.type.tensorType.dimensions:
                    if axis.WhichOneof("dimension") == "constant":
                        axis.unknown.SetInParent()


def large(kind: str, argument: str, values: list[int], build: Callable[[Any], Any]) -> tuple[Any, Change]:
    """Pair a body with small numbers with the change that makes them large, after coremltools has checked it."""
    return build, lambda specification: set_integers(specification, kind, argument, values)


def _bodies() -> Iterator[tuple[str, tuple[Any, Change]]]:
    from tests.coreml.programs import Builder

    def scalar(x: Any) -> Any:
        return Builder.reduce_max(x=x, axes=[2, 3], keep_dims=False)

    def with_top(x: Any, value: Any) -> Any:
        """Add the largest number of a value, so that it is needed."""
        return Builder.add(x=scalar(x), y=Builder.reduce_max(x=Builder.cast(x=value, dtype="fp32")))

    def padded(x: Any) -> Any:
        return scalar(Builder.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 0, 0], mode="constant", constant_val=0.0))

    def upsampled(x: Any) -> Any:
        return scalar(Builder.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=2))

    def resized(x: Any) -> Any:
        return scalar(Builder.resize_bilinear(x=x, target_size_height=64, target_size_width=64))

    def tiled(x: Any) -> Any:
        return scalar(Builder.tile(x=x, reps=[1, 1, 2, 2]))

    def filled(x: Any) -> Any:
        return with_top(x, Builder.fill(shape=[2, 2], value=0.5))

    def hot(x: Any) -> Any:
        return with_top(x, Builder.one_hot(indices=[1, 2], one_hot_vector_size=4))

    def ranged(x: Any) -> Any:
        return with_top(x, Builder.range_1d(start=0, end=5, step=1))

    yield "fill", large("fill", "shape", [2**18, 2**18], filled)
    yield "tile", large("tile", "reps", [1, 1, 2**13, 2**13], tiled)
    yield "pad", large("pad", "pad", [0, 0, 0, 0, 2**18, 2**18, 2**18, 2**18], padded)
    yield "upsample", large("upsample_nearest_neighbor", "scale_factor_height", [2**30], upsampled)
    yield "resize", large("resize_bilinear", "target_size_height", [2**30], resized)
    yield "one_hot", large("one_hot", "one_hot_vector_size", [2**31 - 1], hot)
    yield "range_1d", large("range_1d", "end", [2**31 - 1], ranged)

    def doubled(x: Any) -> Any:
        value = x
        for _ in range(26):
            value = Builder.concat(values=[value, value], axis=3)
        return scalar(value)

    def loops(depth: int) -> Callable[[Any], Any]:
        def nest(level: int, value: Any) -> Any:
            def body(sum_: Any, count: Any) -> Any:
                inner = nest(level - 1, sum_) if level > 1 else Builder.add(x=sum_, y=np.float32(1))
                return inner, Builder.add(x=count, y=np.float32(1))

            return Builder.while_loop(
                _cond=lambda sum_, count: Builder.less(x=count, y=np.float32(99_990)),
                _body=body,
                loop_vars=(value, np.float32(0)),
            )[0]

        return lambda x: nest(depth, Builder.reduce_max(x=x))

    def growing(x: Any) -> Any:
        answer, _ = Builder.while_loop(
            _cond=lambda value, count: Builder.less(x=count, y=np.float32(60)),
            _body=lambda value, count: (
                Builder.concat(values=[value, value], axis=0),
                Builder.add(x=count, y=np.float32(1)),
            ),
            loop_vars=(Builder.reshape(x=Builder.reduce_max(x=x), shape=[1]), np.float32(0)),
        )
        return answer

    def endless(x: Any) -> Any:
        return Builder.while_loop(
            _cond=lambda value: Builder.greater(x=value, y=np.float32(-1)),
            _body=lambda value: Builder.abs(x=value),
            loop_vars=(Builder.reduce_max(x=x),),
        )

    def same(specification: Any) -> None:
        pass

    yield "concat 26 times", (doubled, same)
    yield "two loops", (loops(2), same)
    yield "four loops", (loops(4), same)
    yield "a loop that doubles a value", (growing, same)
    yield "a loop without an end", (endless, same)


def _build(name: str, place: Path) -> None:
    from tests.coreml.programs import convert

    body, change = dict(_bodies())[name]
    model = convert(body, (1, 3, 32, 32), passes="empty")
    specification = model.get_spec()
    change(specification)
    _save(specification, place, weights=Path(str(model.weights_dir)) if model.weights_dir else None)


def _save(specification: Any, place: Path, weights: Path | None) -> None:
    """Write a package around a specification; coremltools itself refuses some of them."""
    package = place / "evil.mlpackage"
    shutil.copytree(place / "keep32.mlpackage", package)
    (_model_file(package)).write_bytes(specification.SerializeToString())
    if weights and weights.is_dir():
        target = _model_file(package).parent / "weights"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(weights, target)


def _model_file(package: Path) -> Path:
    return next(package.rglob("*.mlmodel"))


# What a file says of its own values, against what they are


def _edit(source: str, change: Change, place: Path) -> None:
    from conversion.guards.quiet import import_coremltools

    ct = import_coremltools()
    shutil.copytree(place / source, place / "evil.mlpackage")
    path = _model_file(place / "evil.mlpackage")
    specification = ct.proto.Model_pb2.Model()
    specification.ParseFromString(path.read_bytes())
    change(specification)
    path.write_bytes(specification.SerializeToString())


def _retype(position: int, kind: str) -> Change:
    """Declare the output of the operation at a position, counted without constants, as of another type."""

    def change(specification: Any) -> None:
        from conversion.guards.quiet import import_coremltools

        numbers = import_coremltools().proto.MIL_pb2.DataType
        computed = [entry for entry in operations(specification) if entry.type != "const"]
        entry = computed[position % len(computed)]
        entry.outputs[0].type.tensorType.dataType = numbers.Value(kind)

    return change


def _reshape(position: int) -> Change:
    def change(specification: Any) -> None:
        computed = [entry for entry in operations(specification) if entry.type != "const"]
        entry = computed[position % len(computed)]
        for axis in entry.outputs[0].type.tensorType.dimensions:
            axis.constant.size += 1

    return change


def _constants(specification: Any) -> list[Any]:
    return [entry for entry in operations(specification) if entry.type == "const"]


def _first_immediate(specification: Any, field: str) -> Any:
    for entry in _constants(specification):
        tensor = entry.attributes["val"].immediateValue.tensor
        if entry.attributes["val"].WhichOneof("value") == "immediateValue" and tensor.WhichOneof("value") == field:
            return entry
    raise LookupError(field)


def _declared(specification: Any, field: str, kind: str, value_too: bool) -> None:
    from conversion.guards.quiet import import_coremltools

    number = import_coremltools().proto.MIL_pb2.DataType.Value(kind)
    entry = _first_immediate(specification, field)
    entry.outputs[0].type.tensorType.dataType = number
    if value_too:
        entry.attributes["val"].type.tensorType.dataType = number


def _twice(specification: Any) -> None:
    first = _constants(specification)[0]
    operations(specification).add().CopyFrom(first)


def _twice_computed(specification: Any) -> None:
    computed = [entry for entry in operations(specification) if entry.type != "const"]
    computed[-1].outputs[0].name = computed[0].outputs[0].name


def _longer(specification: Any) -> None:
    entry = _first_immediate(specification, "ints")
    entry.attributes["val"].immediateValue.tensor.ints.values.append(1)


def _shape_of_constant(specification: Any) -> None:
    entry = next(e for e in _constants(specification) if e.attributes["val"].WhichOneof("value") == "blobFileValue")
    entry.outputs[0].type.tensorType.dimensions[0].constant.size += 1


def _weights_outside(specification: Any) -> None:
    entry = next(e for e in _constants(specification) if e.attributes["val"].WhichOneof("value") == "blobFileValue")
    entry.attributes["val"].blobFileValue.fileName = "@model_path/../../../../secret.bin"


def _offset(specification: Any) -> None:
    entry = next(e for e in _constants(specification) if e.attributes["val"].WhichOneof("value") == "blobFileValue")
    entry.attributes["val"].blobFileValue.offset = 2**63


def _of_itself(specification: Any) -> None:
    computed = [entry for entry in operations(specification) if entry.type != "const"]
    name = computed[0].outputs[0].name
    for key in computed[0].inputs:
        computed[0].inputs[key].arguments[0].name = name


CONTRADICTIONS: dict[str, Change] = {
    "ints declared fp32": lambda s: _declared(s, "ints", "FLOAT32", value_too=True),
    "ints declared string": lambda s: _declared(s, "ints", "STRING", value_too=True),
    "ints of an output fp32": lambda s: _declared(s, "ints", "FLOAT32", value_too=False),
    "strings declared int32": lambda s: _declared(s, "strings", "INT32", value_too=True),
    "a constant twice": _twice,
    "a value twice": _twice_computed,
    "a number too many": _longer,
    "a constant of another shape": _shape_of_constant,
    "weights outside": _weights_outside,
    "an offset of 2^63": _offset,
    "an operation that reads itself": _of_itself,
    "no functions": lambda s: s.mlProgram.ClearField("functions"),
    "no output": lambda s: s.description.ClearField("output"),
    "no input": lambda s: s.description.ClearField("input"),
    "version 2^31 - 1": lambda s: setattr(s, "specificationVersion", 2**31 - 1),
    "version -1": lambda s: setattr(s, "specificationVersion", -1),
}


def attacks() -> Iterator[Attack]:
    """Give every program to predict, and those that contradict themselves to check."""
    for what in (name for name, _ in _bodies()):
        yield Attack(f"programs/{what}/predict", (*PREDICT, "--time-limit", "60"), partial(_build, what), NOT_GREEN)
    refused_or_failed = frozenset({REFUSED, FAILS})
    for what, change in CONTRADICTIONS.items():
        for command, words in (("predict", PREDICT), ("check", CHECK)):
            trap = partial(_edit, "keep32.mlpackage", change)
            yield Attack(f"programs/{what}/{command}", words, trap, refused_or_failed)
    for position in range(6):
        for kind in ("STRING", "BOOL", "INT32", "FLOAT16", "INT8"):
            trap = partial(_edit, "keep32.mlpackage", _retype(position, kind))
            name = f"programs/operation {position} declared {kind.lower()}"
            yield Attack(f"{name}/check", CHECK, trap, refused_or_failed)
        trap = partial(_edit, "keep32.mlpackage", _reshape(position))
        yield Attack(f"programs/operation {position} one wider/check", CHECK, trap, refused_or_failed)
    for what, place_it in SPECIAL.items():
        for command, words in (("predict", PREDICT), ("check", CHECK)):
            yield Attack(f"programs/{what}/{command}", words, partial(place_it, name="evil.mlpackage"))
