"""`parity doctor`: versions, what can run here and why not, and pairs of versions that do not work together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import click

# coremltools up to 9.0 calls int() on one-element arrays, which numpy 2.4 made a TypeError.
_NUMPY_TOO_NEW = (2, 4)
_COREMLTOOLS_FIXED = (9, 1)

# What a route needs beyond the packages that are always installed: the extra `legacy`.
_OPTIONAL: Mapping[str, tuple[str, ...]] = {"onnx-coreml": ("onnx-coreml", "onnxslim")}


@click.command("doctor")
def doctor() -> int:
    """Print versions, what can run here, and why the rest cannot."""
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
        needs = f"needs {' and '.join(missing)}: pip install 'coreml-parity[legacy]'"
        lines.append(f"  {route}: " + (needs if missing else "converts here"))
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
