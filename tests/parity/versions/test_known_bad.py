"""The known-bad pairs: each is as its file says with what is installed, and a model that has it is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from conversion import ROUTES, ConversionError, convert
from conversion.recipe import Route
from parity import check
from parity.versions import known_bad_operations
from parity.versions.examined import operations_of
from parity.versions.known_bad import KnownBad, hits, known_bad
from parity.versions.toolchain_packages import installed
from tests.parity.tiny import noises, pictures
from tests.parity.versions import known_bad_models

PAIRS = known_bad()
HERE = [pair for pair in PAIRS.values() if installed()[pair.package] in (*pair.bad, *pair.good)]


def routes_of(pair: KnownBad) -> dict[str, Route]:
    return {name: route for name, route in ROUTES.items() if pair.concerns(route)}


def shown_by(pair: KnownBad) -> str:
    """Choose the route that shows a pair: in fp32, where noise hides least."""
    return max(routes_of(pair), key=lambda name: ROUTES[name].precision == "fp32")


@pytest.mark.parametrize("pair", HERE, ids=lambda pair: pair.id)
def test_what_is_installed_is_as_the_file_says(pair: KnownBad, tmp_path: Path) -> None:
    classifier = getattr(known_bad_models, pair.reproduction)()
    try:
        artifact = convert(classifier, shown_by(pair), tmp_path)
        run = check(classifier, artifact, [*pictures(), *noises()], explain=False)
        verdicts = {subject.verdict for subject in run.subjects if subject.backend != "onnx-reference"}
        right = verdicts - {"skipped"} == {"pass"}
    except ConversionError:
        right = False

    assert right == (installed()[pair.package] in pair.good)


def test_something_is_tried_here() -> None:
    assert {pair.package for pair in HERE} == {"onnxruntime", "onnxscript", "onnxslim", "coremltools"}
    assert sum(pair.holds(installed()[pair.package]) for pair in HERE) >= 5


@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda pair: pair.id)
def test_a_pair_says_all_that_there_is_to_say(pair: KnownBad) -> None:
    assert pair.bad
    assert all(pair.holds(version) for version in pair.bad)
    assert not any(pair.holds(version) for version in pair.good)
    assert not pair.holds("no version")
    assert routes_of(pair)
    assert pair.threads
    assert all(re.fullmatch(r"[\w-]+/[\w.-]+#\d+", thread) for thread in pair.threads)
    assert all(link.startswith("https://github.com/") for link in pair.links)
    assert pair.title
    assert pair.advice
    assert pair.operation in known_bad_operations.OPERATIONS


def test_every_operation_is_of_a_pair() -> None:
    assert {pair.operation for pair in PAIRS.values()} == set(known_bad_operations.OPERATIONS)


# The worst versions of all packages: every pair but one of another range of onnxruntime holds.
OLD = {"onnxruntime": "1.20.1", "onnxscript": "0.5.6", "onnxslim": "0.1.97", "coremltools": "9.0"}
# A model may hit more than the pair that it is of.
SHOWN: Mapping[str, set[str]] = {
    "control": set(),
    "padded_average_pool": {"onnxruntime-average-pool-end-pads"},
    "ceil_average_pool": {
        "onnxruntime-average-pool-ceil",
        "onnxruntime-average-pool-ceil-17",
        "coremltools-average-pool-ceil",
    },
    "uncounted_average_pool": {"onnxruntime-pad-average-pool"},
    "scaled_bias": {"onnxscript-gemm-beta"},
    "grouped_transpose": {"onnxscript-conv-transpose-groups", "coremltools-conv-transpose-groups"},
    "two_readers": {"onnxscript-bias-collision"},
    "padded_convolution": {"onnxslim-pad-conv"},
    "antialiased": {"coremltools-antialias"},
    "small_reciprocal": {"coremltools-inverse-epsilon"},
    "floored": {"coremltools-floor-divide-by-one"},
    "masked_by_the_least": {"coremltools-finfo-min"},
    "scaled_addition": {"coremltools-add-alpha"},
}


@pytest.mark.parametrize("model", SHOWN)
def test_a_model_hits_its_own_pairs_and_no_other(model: str) -> None:
    program = operations_of(getattr(known_bad_models, model)())
    found = {
        hit.pair.id
        for runtime in ("1.20.1", "1.24.3")
        for hit in hits(program, ROUTES, {**OLD, "onnxruntime": runtime})
    }

    assert found == SHOWN[model]


def test_every_pair_is_shown_by_a_model() -> None:
    assert set().union(*SHOWN.values()) == set(PAIRS)
    assert all(pair.id in SHOWN[pair.reproduction] for pair in PAIRS.values())


def test_a_hit_says_where_and_by_which_routes() -> None:
    program = operations_of(known_bad_models.grouped_transpose())

    (hit,) = hits(program, ROUTES, {"coremltools": "9.0"})
    assert (hit.version, hit.modules) == ("9.0", ("transposed",))
    assert hit.routes == ("mlprogram", "mlprogram-fp32", "mlprogram-export")
    assert hits(program, {"onnx": ROUTES["onnx"]}, {"coremltools": "9.0"}) == ()
    assert hits(program, ROUTES, {"coremltools": "9.1"}) == ()
    assert hits(program, ROUTES, {}) == ()


def test_a_conversion_of_ones_own_may_hit_what_nobody_excludes() -> None:
    own = replace(ROUTES["mlprogram"], name="ship", options={}, key=lambda: "", precision=None)
    finished = replace(own, finished=Path("a.mlpackage"))

    assert PAIRS["coremltools-finfo-min"].concerns(own)
    assert PAIRS["coremltools-add-alpha"].concerns(own)
    assert not PAIRS["coremltools-finfo-min"].concerns(replace(own, precision="fp32"))
    assert not PAIRS["onnxscript-gemm-beta"].concerns(own)
    assert not PAIRS["coremltools-finfo-min"].concerns(finished)
    assert not PAIRS["coremltools-add-alpha"].concerns(ROUTES["mlprogram"])
    assert PAIRS["onnxruntime-average-pool-ceil"].concerns(
        replace(ROUTES["onnx"], options={}, finished=Path("a.onnx"))
    )
