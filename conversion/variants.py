"""Variants of our routes: another deployment target, another front end, compressed weights, operations in fp32.

    variant_route("small", "mlprogram", target="iOS18", weights="int4-block32") -> Route

Every option is checked before anything is converted. OPTIONS says what there is; what validates a value and what
lists the valid ones is the same table.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from conversion.compression import SCHEMES, names_file, read_compression, tell_unknown_scheme
from conversion.errors import ConversionError
from conversion.frontends import FRONTENDS, Frontend
from conversion.mlprogram import convert_mlprogram
from conversion.recipe import Route
from conversion.routes import ROUTES, tell_unknown
from conversion.targets import TARGETS, is_before, nearest_target, same_year


@dataclass(frozen=True)
class Option:
    """Describe an option of a variant.

    has: whether a route of ours can have it. problem: what is wrong with a value, empty where nothing is.
    values: the valid ones, in words, a line each. example: as a suite file has it.
    """

    about: str
    has: Callable[[Route], bool]
    problem: Callable[[Any], str]
    values: Sequence[str]
    example: str


def _is_program(route: Route) -> bool:
    return getattr(route.write, "func", None) is convert_mlprogram


def _is_half_program(route: Route) -> bool:
    return _is_program(route) and route.precision == "fp16"


def _unknown_target(text: str) -> str:
    return "" if text in TARGETS else _unknown("target", text, nearest_target(text), TARGETS)


def _unknown_frontend(text: str) -> str:
    near = next(iter(difflib.get_close_matches(text.lower(), FRONTENDS, n=1, cutoff=0.5)), "")
    return "" if text in FRONTENDS else _unknown("frontend", text, near, FRONTENDS)


def _unknown_weights(text: str) -> str:
    return "" if names_file(text) else tell_unknown_scheme(text)


def _blank_names(names: Sequence[str]) -> str:
    if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in names):
        return 'keep_fp32 is a list of types or names of operations: keep_fp32 = ["softmax"]'
    return ""


def _unknown(what: str, text: str, near: str, known: Any) -> str:
    meant = f"; did you mean {near}?" if near else ""
    return f"unknown {what} `{text}`{meant} ({what}s: {', '.join(known)})"


OPTIONS: Mapping[str, Option] = {
    "target": Option(
        "the system that the file is for: minimum_deployment_target of coremltools",
        _is_program,
        _unknown_target,
        [", ".join(name for name in TARGETS if name.startswith(system)) for system in ("i", "m", "w", "t")],
        'target = "iOS18"',
    ),
    "frontend": Option(
        "how coremltools gets the module: torch.jit.trace or torch.export",
        _is_program,
        _unknown_frontend,
        [", ".join(FRONTENDS)],
        'frontend = "export"',
    ),
    "weights": Option(
        "compressed weights, by coremltools.optimize",
        _is_program,
        _unknown_weights,
        [
            *(f"{scheme.form}: {scheme.about}" for scheme in SCHEMES),
            "a file of coremltools.optimize settings, .yaml, .yml or .json, relative to the suite file",
        ],
        'weights = "palettize-6bit"',
    ),
    "keep_fp32": Option(
        "operations that are not computed in fp16: op_selector of coremltools",
        _is_half_program,
        _blank_names,
        ["types of operations (softmax), or names as `parity explain` gives them"],
        'keep_fp32 = ["softmax"]',
    ),
}


def bases(option: str) -> list[str]:
    """List the routes of ours that have an option."""
    return [name for name, route in ROUTES.items() if OPTIONS[option].has(route)]


def problems(base: str, options: Mapping[str, Any], directory: Path = Path()) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a variant, each with its key.

    options: by their names in OPTIONS; None and an empty list stand for one that is not there.
    directory: what the path of a file of settings is relative to.
    """
    if base not in ROUTES:
        yield "base", tell_unknown(base, ROUTES)
        return
    present = {name: value for name, value in options.items() if value not in (None, [], ())}
    for name, value in present.items():
        if not OPTIONS[name].has(ROUTES[base]):
            yield (
                name,
                f"the base {base} does not have it{_why_not(name, base)}; these have: {', '.join(bases(name))}",
            )
        elif problem := OPTIONS[name].problem(value):
            yield name, problem
        elif name == "weights":
            yield from (("weights", text) for text in _weights_problems(value, present.get("target"), directory))


def _why_not(option: str, base: str) -> str:
    return ", where all is in fp32 anyway" if option == "keep_fp32" and _is_program(ROUTES[base]) else ""


def _weights_problems(weights: str, target: str | None, directory: Path) -> Iterator[str]:
    try:
        needed, why = read_compression(weights, directory).needs
    except ConversionError as error:
        yield str(error)
        return
    # Where nobody asks for a target, coremltools takes iOS15, and makes it iOS16 for weights that it compresses.
    if (target is None or target in TARGETS) and is_before(target or "iOS16", needed):
        asked = f"for {target}" if target else "without a target"
        able = same_year(needed, target)
        yield f'{weights} is not possible {asked}, but from {able} on ({why}); give target = "{able}"'


def variant_route(
    name: str,
    base: str,
    target: str | None = None,
    frontend: str | None = None,
    weights: str | None = None,
    keep_fp32: Sequence[str] = (),
    directory: Path = Path(),
) -> Route:
    """Make a route that converts as one of ours does, but for its options; raises ConversionError.

    directory: what the path of a file of settings is relative to.
    """
    options = {"target": target, "frontend": frontend, "weights": weights, "keep_fp32": keep_fp32}
    for key, problem in problems(base, options, directory):
        raise ConversionError(f"{key}: {problem}")
    route = ROUTES[base]
    if not any(options.values()):
        return replace(route, name=name, options={**route.options, "base": base}, about=f"as {base}")
    compression = read_compression(weights, directory) if weights else None
    assert route.precision is not None
    chosen = cast(Frontend, frontend or route.options.get("frontend", "trace"))
    write = partial(
        convert_mlprogram,
        precision=route.precision,
        frontend=chosen,
        target=target,
        compression=compression,
        keep_fp32=tuple(keep_fp32),
    )
    recorded = {
        **route.options,
        "base": base,
        "frontend": chosen,
        "target": target or "",
        "weights": weights or "",
        "settings": compression.digest if compression else "",
        "keep_fp32": json.dumps(list(keep_fp32)) if keep_fp32 else "",
    }
    changes = ", ".join(f"{option} = {json.dumps(value)}" for option, value in options.items() if value)
    return Route(
        *(name, route.format, route.precision, route.suffix, write),
        {option: value for option, value in recorded.items() if value},
        about=f"as {base}, but {changes}",
    )
