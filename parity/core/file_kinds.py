"""What a file is that stands in the place of another: by its schema, its ending or its first bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from conversion.files.git_lfs import tell_pointer
from conversion.files.regular_files import why_no_file
from conversion.files.suffixes import IMAGE_SUFFIXES, MODEL_SUFFIXES

# Name of a schema -> what such a file is, and who takes it.
WRITTEN: Mapping[str, str] = {
    "parity-run": "results of a run, which `parity judge` and `parity compare-runs` take",
    "parity-cases": "the cases of a run over images, which `parity merge` takes",
    "parity-record": "predictions made elsewhere, which `parity check --record` takes",
    "parity-baseline": "a stored baseline, which `parity baseline check` reads from beside its suite file",
    "parity-drift": "what `parity baseline` wrote, which no command takes",
    "parity-run-diff": "what `parity compare-runs` wrote, which no command takes",
    "parity-doctor": "what `parity doctor` wrote, which no command takes",
    "parity-matrix": "what `parity upgrade --matrix` wrote, which no command takes",
    "parity-upgrade": "what `parity upgrade` wrote, which no command takes",
    "parity-bisection": "what `parity upgrade --bisect` wrote, which no command takes",
    "parity-audit": "what `parity audit` wrote, which no command takes",
    "parity-envelope": "what `parity envelope` wrote, which no command takes",
    "parity-calibration": "what `parity calibrate` wrote, which no command takes",
}
# The first line of every file that `parity init` writes begins so: in TOML, Python and YAML it is a comment.
INIT_MARK = "# Written by `parity init`"
_SCHEMA = re.compile(rb'"schema":\s*"(parity-[a-z-]+)/\d+"')
# Some have their schema first and some last; the first line of a cases file, its header, has the labels before it.
_HEAD, _TAIL, _LINE = 2**16, 2**12, 2**26


def tell_kind(path: Path, wanted: str = "") -> str:
    """Say what a file is and which command takes it; empty where that is not known, or it is what is wanted.

    wanted: the name of a schema, without its version.
    """
    if pointer := tell_pointer(path):
        return pointer
    schema = schema_of(path)
    if schema == wanted and wanted:
        return ""
    suffix = path.suffix.lower()
    if schema:
        return WRITTEN.get(schema, f"a file of schema {schema}")
    if suffix in IMAGE_SUFFIXES:
        return "an image"
    if suffix in MODEL_SUFFIXES:
        return "a converted model, which `parity check` and `parity predict` take"
    if suffix == ".toml":
        return "a suite file, which `parity run` takes"
    return "Python source; a model in it is called `file.py:callable`" if suffix == ".py" else ""


def schema_of(path: Path) -> str:
    """Return the name of the schema that a file says it has, without its version; empty where it says none."""
    if why_no_file(path):
        return ""
    try:
        with path.open("rb") as file:
            first = file.readline(_LINE)
            head = file.read(_HEAD)
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read(_TAIL)
    except OSError:
        return ""
    for part in (first, head, tail):
        if part.lstrip()[:1] and (match := _SCHEMA.search(part)):
            return match[1].decode("ascii")
    return ""


def results_beside(cases: Path) -> Path:
    """Name the results that a cases file belongs to."""
    return cases.with_name(cases.name.removesuffix(".cases.jsonl").removesuffix(".jsonl") + ".json")
