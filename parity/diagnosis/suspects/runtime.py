"""The file is right, what runs it is wrong: another runtime, or the same with less haste, agrees with PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends import backends_for, find_backend, limited
from parity.core.origin import Passage
from parity.core.refusals import EXPECTED, refusals
from parity.diagnosis import chain
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.formats import find_format
from parity.formats.compression import INT8_OPERATIONS

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.examination import Examination

# x86's instructions that add products of 8 bits without an intermediate of 16, which saturates.
_EXACT = frozenset(("avx512_vnni", "avx_vnni", "amx_int8", "avx_vnni_int8"))
# Where Linux lists what its processors can do.
CPU_INFO = Path("/proc/cpuinfo")


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Ask the other runtime of the file, where one agrees; and int8 sums that do not saturate."""
    if examination.candidate.is_recorded:
        return
    guilty, backend = examination.guilty, examination.candidate.backend
    if guilty and guilty.after == chain.OPTIMISED:
        yield _optimisation(examination)
    elif guilty == Passage(f"{examination.file.artifact.format} file", backend):
        for other in backends_for(examination.file.artifact.format):
            if other != backend and find_backend(other).why_not() is None:
                yield _disagreement(examination, other)
    if backend == "onnxruntime" and _saturates(examination):
        yield Suspect(
            "p-int8-saturation",
            "This CPU has no VNNI: ONNX Runtime int8 sums saturate; do not use it as reference.",
            Repair(
                run=partial(_exact_sums, batch=examination.candidate.batch),
                evidence="the same file with exact int8 sums agrees",
                fix='options.add_session_config_entry("session.x64quantprecision", "1")',
            ),
        )


def _optimisation(examination: Examination) -> Suspect:
    return Suspect(
        "v-runtime-regression",
        f"{_named('onnxruntime')} answers otherwise once it has optimised the graph: without (ORT_DISABLE_ALL) it "
        f"agrees with PyTorch{_operation(examination, 'onnxruntime', 'unoptimised')}.",
        Repair(
            run=chain.unoptimised,
            evidence="the same file, not optimised, agrees",
            fix="options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL",
        ),
        seen=True,
    )


def _disagreement(examination: Examination, other: str) -> Suspect:
    backend = examination.candidate.backend
    package, right = find_backend(backend).ABOUT.package, find_backend(other).ABOUT.title
    where = _operation(examination, backend, other)
    both = f"{_named(backend)} and {_named(other)}"
    sentence = f"{both} disagree{where}; the file is right: {right} agrees with PyTorch."
    return Suspect(
        "v-runtime-regression",
        f"{sentence[0].upper()}{sentence[1:]}",
        Repair(
            run=partial(_loaded, backend=other, batch=examination.candidate.batch),
            evidence=f"the same file run by {right} agrees",
            fix=f"pip install --upgrade {package}" if package.startswith("onnx") else "",
        ),
        seen=True,
    )


def _loaded(artifact: Artifact, backend: str, batch: int) -> Predict:
    return find_backend(backend).load(artifact, batch)


def _named(backend: str) -> str:
    from conversion.provenance import package_versions

    about = find_backend(backend).ABOUT
    version = package_versions((about.package,)).get(about.package, "")
    return f"{about.title} {version}".rstrip() if about.package != "coreml-parity" else about.title


def _operation(examination: Examination, one: str, other: str) -> str:
    """Name the first operation that two runtimes of an ONNX file give different values of, from the same inputs."""
    graph = examination.file.graph
    if graph is None or not find_format(graph.format).RUNTIME_REWRITES:
        return ""
    pixels = examination.pixels[examination.screen[0]]
    try:
        with refusals("a runtime that is to show the values inside"):
            first, second = (_values(examination.file.artifact, name, pixels) for name in (one, other))
    except EXPECTED:  # that they disagree stands without it
        return ""
    for operation in graph.operations:
        for name in operation.outputs:
            if name in first and name in second and not _same(first[name], second[name]):
                return f" on operation {operation.type} (`{operation.name}`)"
    return ""


def _values(artifact: Artifact, runtime: str, pixels: np.ndarray) -> dict[str, np.ndarray]:
    from parity.formats.arrays import feed
    from parity.formats.onnx.inputs import graph_inputs
    from parity.formats.trace import open_trace

    if runtime != "onnx-reference":
        return open_trace(artifact, optimised=runtime == "onnxruntime")(pixels)
    import onnx

    from parity.backends.onnx_reference import evaluator_of

    model = onnx.load(str(artifact.path))
    inputs = graph_inputs(model)
    (image,) = inputs.values()
    fed = feed(artifact, inputs, np.repeat(pixels[None], image.shape[0] or 1, axis=0))
    values: dict[str, Any] = evaluator_of(model).run(None, fed, intermediate=True)
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool((one == other).all())
    size = float(np.abs(other).max(initial=0.0))
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-4 * max(size, 1e-6), equal_nan=True))


def _saturates(examination: Examination) -> bool:
    """Say whether a file computes in int8 on an x86 processor that has no exact sums for it."""
    graph = examination.file.graph
    if graph is None or not any(operation.type in INT8_OPERATIONS for operation in graph.operations):
        return False
    flags = _flags()
    return "sse2" in flags and not flags & _EXACT


def _flags() -> frozenset[str]:
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def _exact_sums(artifact: Artifact, batch: int) -> Predict:
    return limited.load("onnxruntime", artifact, batch, config={"session.x64quantprecision": "1"})
