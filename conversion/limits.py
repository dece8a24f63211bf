"""What a route cannot hold, because it fixes what the converter's own error advises to change.

An exporter says "try exporting with version 14", onnx-coreml "try converting with higher
minimum_ios_deployment_target". Whoever converts by a route cannot follow either: the opset and the target are the
route's. So is the front end that gave coremltools an operation which it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from conversion.frontends import decomposes

if TYPE_CHECKING:
    from conversion.artifact import Format
    from conversion.recipe import Route

Fixed = Literal["opset", "target", "export", "trace"]

_OPSETS = (
    # torch.onnx.errors.UnsupportedOperatorError, and three functions of torch's symbolic_helper.py.
    re.compile(
        r"Exporting the operator '(?P<operation>[^']+)' to ONNX opset version (?P<opset>\d+) is not supported"
        r"(?:\. Support for this operator was added in version (?P<since>\d+))?"
    ),
    re.compile(
        r"Unsupported: ONNX export of (?P<operation>(?!operator ).+?) in opset (?P<opset>\d+)\."
        r"(?P<why>.*?) Please try opset version (?P<since>\d+)"
    ),
    re.compile(
        r"ONNX export failed on (?P<operation>.+?), which is not implemented for opset (?P<opset>\d+)\. "
        r"Try exporting with other opset versions"
    ),
    re.compile(r"Unsupported: ONNX export of operator (?P<operation>.+?)\. Please feel free to request support"),
)
_TARGETS = (
    # onnx_coreml's _error_utils.py and converter.py.
    re.compile(r"Unsupported ONNX ops of type: (?P<operation>\S+) Please try .*minimum_ios_deployment_target"),
    re.compile(r"ONNX node of type (?P<operation>\S+) is not supported\. .*minimum_ios_deployment_target"),
    re.compile(
        r"(?:Error while converting op|Missing initializer error in op) of type:? (?P<operation>[^\s.,]+)"
        r".*?Error message: (?P<why>.*?) Please try .*minimum_ios_deployment_target"
    ),
)
# coremltools' internal_graph.py, of a program of torch.export.
_EXPORTED = (re.compile(r"Unsupported fx node \S+, kind (?P<operation>\S+)"),)
# coremltools' frontend/torch/ops.py, of a trace.
_TRACED = (re.compile(r"PyTorch convert function for op '(?P<operation>[^']+)' not implemented"),)
_PATTERNS: Mapping[Fixed, Sequence[re.Pattern[str]]] = {
    "opset": _OPSETS,
    "target": _TARGETS,
    "export": _EXPORTED,
    "trace": _TRACED,
}


_FRONTENDS: Mapping[Fixed, str] = {"export": "torch.export", "trace": "torch.jit.trace"}


@dataclass(frozen=True)
class Limit:
    """Say what a converter refused, and what it wants changed.

    operations: as the converter calls them. fixed: what the route fixes. opset: the one that was asked for; since:
    the first that would do. Both are 0 where the error does not say. why: the converter's own reason, if any.
    """

    operations: Sequence[str]
    fixed: Fixed
    opset: int = 0
    since: int = 0
    why: str = ""

    def __str__(self) -> str:
        """Say in a sentence's part what cannot be held."""
        names = ", ".join(self.operations)
        if self.fixed in _FRONTENDS:
            return f"coremltools cannot convert {names}, which {_FRONTENDS[self.fixed]} makes of the module"
        if self.fixed == "target":
            why = f" ({self.why})" if self.why else ""
            return f"onnx-coreml cannot convert {names}{why} for the iOS 12 of the route"
        why = f"; {self.why}" if self.why else ""
        if self.since:
            return (
                f"the route's opset {self.opset} cannot hold {names} "
                f"(the exporter writes it from opset {self.since} on{why})"
            )
        return (
            f"the TorchScript exporter cannot write {names}{f' in opset {self.opset}' if self.opset else ''}{why}"
        )


def limit_of(error: str) -> Limit | None:
    """Read the limit out of a converter's error; None where it speaks of none."""
    text = " ".join(error.split())
    for fixed, patterns in _PATTERNS.items():
        for match in (one for pattern in patterns if (one := pattern.search(text))):
            parts = match.groupdict()
            operations = parts["operation"].split(",") if fixed == "target" else [parts["operation"]]
            why = (parts.get("why") or "").strip().rstrip(".")
            opset, since = (int(parts.get(name) or 0) for name in ("opset", "since"))
            return Limit(operations, fixed, opset, since, why)
    return None


def told_limit(error: str, recipe: Route, routes: Mapping[str, Route]) -> str:
    """Say that a route cannot hold an operation, and which can; empty where the error is of another kind.

    A route that does not fix its opset may follow the exporter's advice: of it nothing is said here.
    """
    limit = limit_of(error)
    if limit is None or (limit.fixed == "opset" and "opset" not in recipe.options):
        return ""
    able = [route.name for route in routes.values() if route.name != recipe.name and _is_able(route, limit)]
    if not able:
        return f"{limit}, and no other route can either"
    return f"{limit}; {'a route' if len(able) == 1 else 'routes'} without this limit: {', '.join(able)}"


def _is_able(route: Route, limit: Limit) -> bool:
    later = _LATER_TARGET.get(route.format)
    if later is None:
        return False  # what its converter holds, nobody said
    if limit.fixed == "target":
        return later
    if limit.fixed in _FRONTENDS:
        if _TRANSLATORS.get(route.format) is not None:
            # What coremltools lacks, it lacks by each front end, but for what torch.export spells anew.
            return limit.fixed == "trace" and _spells(route, limit.operations)
        return "opset" not in route.options  # whether an opset holds it, nobody said
    if "opset" in route.options:
        return 0 < limit.since <= int(route.options["opset"])
    translate = _TRANSLATORS.get(route.format)
    return translate is None or translate(limit.operations) or _spells(route, limit.operations)


def _spells(route: Route, operations: Sequence[str]) -> bool:
    """Say whether a route spells the operations anew, for coremltools to know them."""
    return route.options.get("frontend") == "export" and all(
        decomposes(name.removeprefix("aten::")) for name in operations
    )


def _converts(operations: Sequence[str]) -> bool:
    """Say whether coremltools knows the operations, as far as they have PyTorch's names."""
    from conversion.guards.quiet import import_coremltools

    import_coremltools()
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    names = [name.removeprefix("aten::") for name in operations if name.startswith("aten::")]
    return all(_TORCH_OPS_REGISTRY.get_func(name) is not None for name in names)


# Whether the converter of a format writes for a later system than iOS 12, or for none.
_LATER_TARGET: Mapping[Format, bool] = {"onnx": True, "mlprogram": True, "neuralnetwork": False}
# What has to know the operations that PyTorch's exporter gives, where another tool goes on from there.
_TRANSLATORS: Mapping[Format, Callable[[Sequence[str]], bool]] = {"mlprogram": _converts}
