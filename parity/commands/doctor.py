"""`parity doctor`: versions, what can run here and why not, and which known-bad pairs a model would hit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.outputs import json_option, save

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.versions.examined import Examined

# coremltools up to 9.0 calls int() on one-element arrays, which numpy 2.4 made a TypeError.
_NUMPY_TOO_NEW = (2, 4)
_COREMLTOOLS_FIXED = (9, 1)

# What a route needs beyond the packages that are always installed: the extra `legacy`.
_OPTIONAL: Mapping[str, tuple[str, ...]] = {"onnx-coreml": ("onnx-coreml", "onnxslim")}


@click.command("doctor")
@click.argument("model", required=False)
@click.option("--suite", type=click.Path(path_type=Path), help="Suite file that MODEL is a name of.")
@json_option("what MODEL would hit, as JSON,", "parity-doctor")
def doctor(model: str | None, suite: Path | None, json_file: Destination | None) -> int:
    """Print versions, what can run here, and why the rest cannot; or which known-bad pairs MODEL would hit.

    MODEL: a name in the suite file, `file.py:callable`, `package.module:callable`, `torchvision:name`, `timm:name`
    or `transformers:directory`. Nothing is converted. A pair is a version of a converter or of a runtime, and an
    operation that it gets wrong. Exit codes with MODEL: 0 it hits none, 1 it does, 2 the input is bad.
    """
    if model is None:
        if suite or json_file:
            raise click.UsageError("--suite and --json go with a MODEL")
        return _environment()
    from parity.report.text import visible
    from parity.versions.examined import examine_model, examined_to_json

    examined = examine_model(model, suite)
    unwritten = save(json_file, lambda: examined_to_json(examined))
    for line in _told(examined):
        click.echo(visible(line))
    return examined.exit_code or unwritten


def _told(examined: Examined) -> Iterator[str]:
    count = len(examined.hits)
    told = f"{count} of {examined.of}" if count else f"none of {examined.of}"
    yield f"{examined.model}: {told} known-bad pairs, by {', '.join(examined.routes) or 'no route'}"
    for hit in examined.hits:
        yield f"{hit.package} {hit.version}: {hit.title} [{hit.pair}]"
        yield f"  at {', '.join(module or 'forward' for module in hit.modules)}; by {', '.join(hit.routes)}"
        yield f"  do: {hit.advice}"
        yield f"  see: {' '.join(hit.links)}"


def _environment() -> int:
    findings = examine()
    for line in findings.lines:
        click.echo(line)
    for warning in findings.warnings:
        click.echo(f"warning: {warning}")
    return 0


@dataclass(frozen=True)
class Findings:
    """Hold what the doctor found, a line each."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def examine() -> Findings:
    """Look at this environment."""
    from conversion import coreai
    from conversion.routes import ROUTES
    from parity.backends import BACKENDS, find_backend
    from parity.core.environment import environment

    here = environment()
    lines = [f"python {here.python} on {here.platform}"]
    lines += [f"  {name} {version}" for name, version in here.packages.items()]
    lines.append("backends:")
    for name in BACKENDS:
        reason = find_backend(name).why_not()
        lines.append(f"  {name}: " + ("runs here" if reason is None else f"cannot run here: {reason}"))
    lines.append("routes:")
    for route in ROUTES:
        missing = [package for package in _OPTIONAL.get(route, ()) if package not in here.packages]
        needs = f"needs {' and '.join(missing)}: pip install 'coreml-parity[legacy]'" if missing else None
        needs = needs or (coreai.why_not() if route in coreai.ROUTES else None)
        lines.append(f"  {route}: {needs or 'converts here'}")
    return Findings(tuple(lines), tuple(warn_of_pairs(here.packages)))


def warn_of_pairs(packages: Mapping[str, str]) -> list[str]:
    """Name installed versions that are known not to work together, and what to install instead."""
    warnings: list[str] = []
    numpy, coremltools = packages.get("numpy"), packages.get("coremltools")
    if numpy and coremltools and _number(numpy) >= _NUMPY_TOO_NEW and _number(coremltools) < _COREMLTOOLS_FIXED:
        warnings.append(
            f"numpy {numpy} with coremltools {coremltools}: shufflenet, swin, vit and others do not convert "
            "('only 0-dimensional arrays can be converted to Python scalars'); pip install 'numpy<2.4'"
        )
    onnxscript = packages.get("onnxscript")
    if onnxscript and (0, 5) <= _number(onnxscript)[:2] < (0, 6) and _number(onnxscript) < (0, 5, 7):
        warnings.append(
            f"onnxscript {onnxscript}: the route onnx gives residual networks the wrong biases "
            "(pytorch/pytorch#169178); pip install 'onnxscript>=0.5.7'"
        )
    return warnings


def _number(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
