"""The plugin, on made-up tests: what each did is recorded, in one process and in several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conformance.conformance_plugin import Asked, sample, set_evaluator_beside
from tests.conformance.conformance_precise import within_half
from tests.conformance.judgement import kind_of

HERE = Path(__file__).parent

# Written as Apple's are: they take the answers about macOS along when they are imported.
MADE_UP = """
import coremltools as ct
import numpy as np
import pytest
from coremltools._deps import _IS_MACOS
from coremltools.converters.mil import Builder as mb
from coremltools.models.utils import _is_macos, _macos_version

def model():
    @mb.program(input_specs=[mb.TensorSpec(shape=(2,))])
    def program(x):
        return mb.add(x=x, y=1.0, name="y")
    return ct.convert(program, minimum_deployment_target=ct.target.iOS15, compute_precision=ct.precision.FLOAT32)

def predict(**inputs):
    return model().predict({name: np.array(value, np.float32) for name, value in inputs.items()})["y"]

@pytest.mark.skipif(not _IS_MACOS or not _is_macos() or _macos_version() < (15, 0), reason="needs macOS")
def test_passes():
    np.testing.assert_array_equal(predict(x=[1, 2]), [2, 3])

def test_fails():
    np.testing.assert_array_equal(predict(x=[1, 2]), [2, 4])

def test_catches():
    with pytest.raises(Exception, match="z"):
        predict(z=[1, 2])

def test_structure():
    assert model().get_spec().WhichOneof("Type") == "mlProgram"

def test_draws():
    np.random.rand(7)

def test_breaks():
    raise ValueError(f"drew {np.random.rand()}")

def test_skips():
    pytest.skip("rdar://1")

def test_is_expected_to_fail():
    predict(x=[1, 2])
    pytest.xfail("rdar://2")

def test_ties():
    assert np.argsort(np.arange(64) % 2)[:32].tolist() == list(range(0, 64, 2))
"""

# At the tolerance of fp32: an answer that fp16 rounded, one that it did not round, one that no rounding explains.
PRECISE = """
import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb

def third(precision):
    @mb.program(input_specs=[mb.TensorSpec(shape=(2,))])
    def program(x):
        return mb.mul(x=x, y=np.float32(1 / 3), name="y")
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS15, compute_precision=precision)
    return model.predict({"x": np.array([1, 2], np.float32)})["y"]

def test_rounds():
    np.testing.assert_allclose(third(ct.precision.FLOAT16), [1 / 3, 2 / 3], atol=1e-6, rtol=1e-6)

def test_is_exact():
    np.testing.assert_allclose(third(ct.precision.FLOAT32), [1 / 3 + 1e-4, 2 / 3], atol=1e-6, rtol=1e-6)

def test_is_right():
    np.testing.assert_allclose(third(ct.precision.FLOAT16), [1 / 3, 2 / 3], atol=0.5)

def test_is_right_at_an_end_of_its_domain():
    @mb.program(input_specs=[mb.TensorSpec(shape=(2,))])
    def program(x):
        return mb.asin(x=x, name="y")
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS15, compute_precision=ct.precision.FLOAT16)
    answer = model.predict({"x": np.array([0, 1], np.float32)})["y"]
    np.testing.assert_allclose(answer, [0, np.pi / 2], atol=0.5)

def test_is_loose():
    np.testing.assert_allclose(third(ct.precision.FLOAT16), [1 / 3, 2 / 3 + 0.01], atol=0.5)

def test_is_wrong():
    np.testing.assert_allclose(third(ct.precision.FLOAT16), [1 / 3 + 1e-2, 2 / 3], atol=1e-6, rtol=1e-6)
"""

# What only pytest-xdist survives.
DEADLY = """
def test_dies():
    import os
    os._exit(3)
"""

EXPECTED = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_catches": "passed",
    "test_structure": "structural",
    "test_draws": "structural",
    "test_breaks": "broken",
    "test_skips": "skipped",
    "test_is_expected_to_fail": "skipped",
    "test_ties": "structural",
}


def run_plugin(
    directory: Path, source: str, *options: str, plugins: tuple[str, ...] = ()
) -> tuple[dict[str, Any], str]:
    """Run made-up tests under the plugin in a process of their own; return the records by test, and the output."""
    (directory / "test_made_up.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(directory)]
    command += [f"-p{name}" for name in (*plugins, "conformance_plugin", "no:cacheprovider")]
    command += ["--conformance-json", str(directory / "records.json"), *options, str(directory)]
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), str(directory)])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    records = directory / "records.json"
    found = json.loads(records.read_text(encoding="utf-8")) if records.is_file() else {}
    return {nodeid.split("::")[-1]: record for nodeid, record in found.items()}, output


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found, output = run_plugin(tmp_path_factory.mktemp("one"), MADE_UP)
    assert found, output
    return found


@pytest.fixture(scope="module")
def in_workers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run in a worker of pytest-xdist, with a test that kills its worker and a file that cannot be imported."""
    directory = tmp_path_factory.mktemp("workers")
    (directory / "test_unreadable.py").write_text("import no_such_module\n", encoding="utf-8")
    found, output = run_plugin(directory, MADE_UP + DEADLY, "-n", "1", "--continue-on-collection-errors")
    assert found, output
    return found


def test_every_test_is_recorded_with_what_it_did(in_one_process: dict[str, Any]) -> None:
    assert {name: kind_of(record) for name, record in in_one_process.items()} == EXPECTED


def test_records_reach_the_controller_of_workers(in_workers: dict[str, Any]) -> None:
    worse = {"test_dies": "failed", "test_unreadable.py": "broken"}

    assert {name: kind_of(record) for name, record in in_workers.items()} == EXPECTED | worse
    assert "no_such_module" in in_workers["test_unreadable.py"]["reason"]


def test_reasons_are_short_and_say_why(in_one_process: dict[str, Any]) -> None:
    found = in_one_process

    assert found["test_fails"]["reason"].startswith("AssertionError: Arrays are not equal Mismatched elements: 1")
    assert "rdar://1" in found["test_skips"]["reason"]
    assert "rdar://2" in found["test_is_expected_to_fail"]["reason"]
    assert "z" in found["test_catches"]["raised"]
    assert found["test_passes"] == {
        "outcome": "passed", "predictions": 1, "raised": "", "reason": "", "differences": [],
        "rounding": False, "loose": "",
    }  # fmt: skip


def test_a_unit_of_fp16_is_noted_where_the_test_computes_in_fp16(tmp_path: Path) -> None:
    records, output = run_plugin(tmp_path, PRECISE)

    assert {name: kind_of(record) for name, record in records.items()} == {
        "test_rounds": "rounding", "test_is_exact": "failed", "test_is_wrong": "failed", "test_is_right": "passed",
        "test_is_loose": "passed", "test_is_right_at_an_end_of_its_domain": "passed",
    }, output  # fmt: skip
    assert [name for name, record in records.items() if record["loose"]] == ["test_is_loose"]
    assert records["test_is_loose"]["loose"].startswith("in fp32 it is 0.01 off, and rounding explains")


@pytest.mark.parametrize(
    ("ours", "theirs", "within"),
    [
        ([1.0], [1.0009], True),
        ([1.0], [1.0011], False),
        ([2047.0, 0.0], [2048.0, 5e-8], True),
        ([0.0], [7e-8], False),
        ([1.0, 2.0], [1.0], False),
        ([float("nan")], [float("nan")], False),
        (["a"], ["a"], False),
    ],
)
def test_a_unit_in_the_last_place_of_fp16(ours: list[Any], theirs: list[Any], within: bool) -> None:
    assert within_half(ours, theirs) is within


def test_a_part_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    records, output = run_plugin(tmp_path, MADE_UP, "--conformance-limit=test_made_up.py=4")

    assert len(records) == 4, output
    names = {f"test_made_up.py::{name}" for name in EXPECTED}
    assert {f"test_made_up.py::{name}" for name in records} == sample(sorted(names), 4)


def test_random_numbers_do_not_depend_on_where_and_after_what_a_test_runs(
    in_one_process: dict[str, Any], in_workers: dict[str, Any]
) -> None:
    reasons = [found["test_breaks"]["reason"] for found in (in_one_process, in_workers)]

    assert reasons[0].startswith("ValueError: drew 0.")
    assert reasons[0] == reasons[1]


def test_the_sample_is_chosen_by_name_and_hardly_moves() -> None:
    names = [f"test_{n}" for n in range(40)]

    chosen = sample(names, 10)

    assert len(chosen) == 10
    assert sample(names[::-1], 10) == chosen
    assert len(chosen - sample([*names, "test_new"], 10)) <= 1


def test_apples_runtime_is_asked_only_where_there_is_one() -> None:
    with pytest.raises(pytest.UsageError, match="no Apple runtime here"):
        set_evaluator_beside(SimpleNamespace(_MLModelProxy=None), Asked())
