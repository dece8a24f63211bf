"""Run the tests that compare numbers under each kind of kernel that this processor has, and print a table.

    python tests/kernels/run.py [--workers N] [pytest's arguments]

PyTorch and oneDNN choose kernels by the processor. A tolerance that holds under one choice only is a tolerance of
one machine. Each row of the table is one run of pytest in a process of its own, with the environment variables
that tell PyTorch and oneDNN what to use. A choice that the processor lacks is skipped with its reason. The exit
code is 1 if any run failed, and 3 if none could be run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Where kernels meet numbers: conversions, the evaluator's operations and layers, backends, what rounding costs.
PART = (
    "tests/conversion/test_deployed.py",
    "tests/conversion/test_mlprogram.py",
    "tests/conversion/test_neuralnetwork.py",
    "tests/conversion/test_onnx.py",
    "tests/coreml/layers",
    "tests/coreml/ops",
    "tests/coreml/running/test_packing.py",
    "tests/parity/audit/test_mutations.py",
    "tests/parity/strategies/test_shapes.py",
    "tests/parity/stream/test_running.py",
    "tests/parity/test_backends.py",
    "tests/parity/calibration/test_noise.py",
    "tests/parity/core/test_tolerance.py",
    "tests/parity/test_vacuous.py",
    "fixtures/parity.toml",
)


@dataclass(frozen=True)
class Kernels:
    """Name a choice of kernels.

    variables: environment variables that make it.
    needs: flags of the processor, as Linux lists them.
    threads: of each process. With several on the same cores they wait for each other in busy loops, so there are
        fewer processes.
    """

    name: str
    variables: Mapping[str, str]
    needs: frozenset[str] = frozenset()
    threads: int = 1


CHOICES = (
    Kernels("what the processor offers", {}),
    Kernels("PyTorch without vectors", {"ATEN_CPU_CAPABILITY": "default"}),
    Kernels("PyTorch avx2", {"ATEN_CPU_CAPABILITY": "avx2"}, frozenset({"avx2", "fma"})),
    Kernels("PyTorch avx512", {"ATEN_CPU_CAPABILITY": "avx512"}, frozenset({"avx512f", "avx512vl", "avx512bw"})),
    Kernels("oneDNN SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Kernels("oneDNN AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, frozenset({"avx2"})),
    Kernels("oneDNN AVX-512 AMX", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, frozenset({"amx_tile", "amx_bf16"})),
    Kernels("2 threads", {"OMP_NUM_THREADS": "2"}, threads=2),
)


@dataclass(frozen=True)
class Row:
    """Hold what one run said. counts: of passed, failed, skipped and the like; reason: why it was not run."""

    name: str
    exit_code: int | None
    counts: Mapping[str, int]
    reason: str = ""


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """List what the processor can do, as Linux names it; None where that cannot be read."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return frozenset(flags[1].split()) if flags else None


def why_not(kernels: Kernels, flags: frozenset[str] | None) -> str:
    """Say why a choice cannot be run on a processor with these flags; empty where it can."""
    if not kernels.needs:
        return ""
    if flags is None:
        return "this system does not say what its processor has"
    missing = sorted(kernels.needs - flags)
    return f"this processor has no {', '.join(missing)}" if missing else ""


def counts_of(output: str) -> dict[str, int]:
    """Read the counts from pytest's last line that has any: `2 failed, 30 passed, 1 skipped in 4.20s`."""
    for line in reversed(output.splitlines()):
        pairs = re.findall(r"(\d+) (passed|failed|skipped|xfailed|xpassed|errors?)\b", line)
        if pairs and " in " in line:
            return {word: int(number) for number, word in pairs}
    return {}


def run_pytest(variables: Mapping[str, str], arguments: Sequence[str]) -> tuple[int, str]:
    """Run pytest at the project's root; return its exit code and what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "--dist", "loadgroup", *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout


def measure(
    choices: Sequence[Kernels],
    flags: frozenset[str] | None,
    arguments: Sequence[str],
    run: Callable[[Mapping[str, str], Sequence[str]], tuple[int, str]] = run_pytest,
    workers: int = 1,
) -> list[Row]:
    """Run the tests under every choice, print what failed, and return a row for each."""
    rows = []
    for kernels in choices:
        if reason := why_not(kernels, flags):
            rows.append(Row(kernels.name, None, {}, reason))
            continue
        processes = max(1, workers // kernels.threads)
        code, output = run(kernels.variables, ["-n", str(processes), *arguments])
        failures = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        for line in failures or (output.splitlines()[-5:] if code else []):
            print(f"{kernels.name}: {line}", flush=True)
        rows.append(Row(kernels.name, code, counts_of(output)))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out as text."""
    width = max(len(row.name) for row in rows)
    lines = []
    for row in rows:
        counts = ", ".join(f"{number} {word}" for word, number in row.counts.items())
        verdict = "skipped" if row.exit_code is None else "failed" if row.exit_code else "passed"
        lines.append(f"{row.name:{width}}  {verdict:8}{row.reason or counts}")
    return "\n".join(lines)


def exit_code(rows: Sequence[Row]) -> int:
    """Return 0 where all that could be run passed, 1 where something failed, 3 where nothing could be run."""
    codes = [row.exit_code for row in rows if row.exit_code is not None]
    return 1 if any(codes) else 0 if codes else 3


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Tests that compare numbers, under each kind of kernel.")
    parser.add_argument("--workers", type=int, default=2)
    options, more = parser.parse_known_args()
    rows = measure(CHOICES, processor_flags(), more or PART, workers=options.workers)
    print(table(rows))
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
