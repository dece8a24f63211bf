"""Which types operations of an ML Program give, so that a file cannot declare others: fp16 for what is fp32, say.

The source is the type inference of coremltools' MIL definitions. Types are named as in dtypes.py; `list of fp32` is
that of a list's elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from parity.core.errors import CoreMLError
from parity.coreml.dtypes import NUMPY
from parity.coreml.reading.mil_values import read_type

# Parameter -> the type of its argument, and parameter -> its value where that is a constant.
Types = Mapping[str, str]
Known = Mapping[str, Any]
# Gives the types of the results, in order; None where nothing is known of one.
Rule = Callable[[Types, Known], Sequence[str | None]]

# From the narrowest to the widest: what operations on two of them give.
_WIDENING = ("bool", "int32", "fp16", "fp32")


def type_name(value_type: Any, where: str) -> str:
    """Name a ValueType; shapes are left out."""
    if value_type.WhichOneof("type") == "listType":
        return f"list of {type_name(value_type.listType.type, where)}"
    return read_type(value_type, where)[0]


def check_result_types(
    kind: str, types: Types, known: Known, outputs: Sequence[tuple[str, str]], where: str
) -> None:
    """Raise a CoreMLError for a result that is declared of another type than its operation gives.

    types: parameter -> type; known: parameter -> value, of those that are constants. outputs: name and declared
    type.
    """
    results = RULES.get(kind, _as_first)(types, known)
    for (name, declared), computed in zip(outputs, results, strict=False):
        if computed is not None and declared != computed:
            raise _misdeclared(where, name, declared, computed)


def check_block_types(
    kind: str, blocks: Sequence[Sequence[str | None]], outputs: Sequence[tuple[str, str]], where: str
) -> None:
    """Do the same for an operation with blocks. blocks: the types that each of them gives; outputs: as above."""
    # A loop's condition gives a bool, and not what the loop does.
    giving = blocks[1:] if kind == "while_loop" else blocks
    for results in giving:
        for (name, declared), computed in zip(outputs, results, strict=False):
            if computed is not None and declared != computed:
                raise _misdeclared(where, name, declared, computed)


def check_constant_type(outputs: Any, value: Any, where: str) -> None:
    """Raise a CoreMLError for a constant that is declared of another type or shape than its value."""
    if len(outputs) != 1:
        raise CoreMLError(f"{where}: a constant has one result, the file names {len(outputs)}; convert again")
    declared, held = (_told(value_type, where) for value_type in (outputs[0].type, value.type))
    if declared != held:
        raise CoreMLError(
            f"{where}: it is declared {declared}, and its value is {held}; the file contradicts itself, convert "
            "again"
        )


def _told(value_type: Any, where: str) -> str:
    """Name a ValueType with its shape; a list with its length."""
    if value_type.WhichOneof("type") == "listType":
        length = value_type.listType.length
        count = length.constant.size if length.WhichOneof("dimension") == "constant" else "any number"
        return f"a list of {count} {_told(value_type.listType.type, where)}"
    dtype, shape = read_type(value_type, where)
    return f"{dtype} {list(shape)}"


def _misdeclared(where: str, name: str, declared: str, computed: str) -> CoreMLError:
    return CoreMLError(
        f"{where}: its result `{name}` is declared {declared}, and the operation gives {computed}; the file "
        "contradicts itself, convert again"
    )


def _as_first(types: Types, known: Known) -> Iterator[str | None]:
    """Give every result the type of the first argument."""
    first = next(iter(types.values()), None)
    while True:
        yield first


def _as(parameter: str, default: str | None = None) -> Rule:
    """Give the result the type of one argument; default: without that argument."""
    return lambda types, known: (types.get(parameter, default),)


def _always(*results: str | None) -> Rule:
    return lambda types, known: results


def _named_by(parameter: str, default: str | None = None) -> Rule:
    """Give the result the type that a constant argument names."""
    return lambda types, known: (_named(known.get(parameter, default)),)


def _named(name: Any) -> str | None:
    return name if name in NUMPY else None


def _widest(first: str, second: str) -> Rule:
    """Give the wider type of two arguments."""

    def rule(types: Types, known: Known) -> Sequence[str | None]:
        both = [types.get(first), types.get(second)]
        if both[0] == both[1] or not all(one in _WIDENING for one in both):
            return (both[0] if both[0] == both[1] else None,)
        return (max(both, key=lambda one: _WIDENING.index(one or "")),)

    return rule


def _product(types: Types, known: Known) -> Sequence[str | None]:
    """Give a product the type of the factor that is no constant, where the other is."""
    return (types.get("y" if "x" in known and "y" not in known else "x"),)


def _element(types: Types, known: Known) -> Sequence[str | None]:
    kind = types.get("ls", "")
    return (kind.removeprefix("list of ") if kind.startswith("list of ") else None,)


def _listed(types: Types, known: Known) -> Sequence[str | None]:
    named = _named(known.get("dtype", "fp32"))
    return (f"list of {named}" if named else None,)


def _class(types: Types, known: Known) -> Sequence[str | None]:
    classes = types.get("classes", "")
    return (classes.removeprefix("list of ") if classes.startswith("list of ") else None, "dict")


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"), _always("bool")),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "logical_not"), _always("bool")),
    **dict.fromkeys(("add", "sub", "mul", "real_div", "floor_div", "mod", "pow"), _widest("x", "y")),
    **dict.fromkeys(("maximum", "minimum"), _widest("x", "y")),
    **dict.fromkeys(("shape", "non_zero", "list_length", "argsort"), _always("int32")),
    **dict.fromkeys(("reduce_argmax", "reduce_argmin"), _named_by("output_dtype", "int32")),
    **dict.fromkeys(("cast",), _named_by("dtype")),
    **dict.fromkeys(("constexpr_cast", "quantize"), _named_by("output_dtype")),
    **dict.fromkeys(("dequantize", "constexpr_affine_dequantize", "constexpr_blockwise_shift_scale"), _as("scale")),
    **dict.fromkeys(("fill", "fill_like"), _as("value", "fp32")),
    **dict.fromkeys(("list_read", "list_gather"), _element),
    "select": _widest("a", "b"),
    "matmul": _product,
    "topk": lambda types, known: (types.get("x"), _named(known.get("output_indices_dtype", "int32"))),
    "non_maximum_suppression": lambda types, known: (types.get("boxes"), types.get("scores"), "int32", "int32"),
    "constexpr_lut_to_dense": _as("lut"),
    "constexpr_lut_to_sparse": lambda types, known: (types.get("indices_mask"), types.get("lut")),
    "constexpr_sparse_blockwise_shift_scale": lambda types, known: (types.get("data_mask"), types.get("scale")),
    "one_hot": _as("on_value", "int32"),
    "random_bernoulli": _as("prob", "fp32"),
    "random_normal": _as("mean", "fp32"),
    "random_uniform": _as("low", "fp32"),
    "make_list": _listed,
    "classify": _class,
}
