"""The table of variants: what it asks for is possible, a line says what was measured, and a gap is no success."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conversion.compression import read_compression
from parity.suite.suite import read_suite
from tests.bench.variants import COMPRESSIONS, FIXTURES, measure, variants, write_suite
from tests.parity import tiny
from tests.parity.tiny import save_pictures

SUITE = 'images = ["pictures/*.png"]\n[models.tiny]\nfactory = "tiny.py:tiny"\nroutes = ["onnx"]\n'


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    shutil.copy(tiny.__file__, directory)
    save_pictures(directory / "pictures")
    (directory / "parity.toml").write_text(SUITE, encoding="utf-8")
    return directory / "parity.toml"


def test_each_model_of_the_fixtures_goes_by_each_variant(tmp_path: Path) -> None:
    write_suite(FIXTURES, tmp_path / "variants.toml", variants())
    written, original = read_suite(tmp_path / "variants.toml"), read_suite(FIXTURES)

    # Front ends by precisions by targets, and five compressions.
    assert {entry.name: len(entry.routes) for entry in written.models} == {
        entry.name: 2 * 2 * 4 + 5 for entry in original.models
    }
    for entry, other in zip(written.models, original.models, strict=True):
        assert (entry.dynamic, entry.bounds, entry.arguments) == (other.dynamic, other.bounds, other.arguments)


@pytest.mark.parametrize(("weights", "target"), COMPRESSIONS.items())
def test_a_compression_goes_with_the_first_target_that_has_it(weights: str, target: str) -> None:
    assert read_compression(weights).needs[0] == target


def test_a_line_says_what_was_measured(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "trace-fp32-iOS15"
    sound = measure(suite, tmp_path, {name: variants()[name]})

    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["model", "variant", "MB", "max", "|Δp|", "allowed", "top-1", "verdict"]
    model, variant, size, distance, allowed, top1, verdict = line.split()
    assert (model, variant, allowed, top1, verdict) == ("tiny", name, "1.0e-04", "100%", "pass")
    # 950 numbers of 4 bytes, and the labels and the program around them.
    assert 0.0038 <= float(size) < 0.05
    assert 0 <= float(distance) < 1e-4
    assert sound


def test_a_variant_that_was_not_judged_is_no_success(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # coremltools compresses no weight of up to 2048 numbers.
    assert not measure(suite, tmp_path, {"int8-iOS16": variants()["int8-iOS16"]})

    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[2:7] == ["-", "-", "-", "-", "error:"]
    assert "compresses nothing here" in line


def test_a_variant_that_fails_without_compression_is_no_success(suite: Path, tmp_path: Path) -> None:
    swapped = suite.with_name("swapped.toml")
    swapped.write_text(SUITE.replace("tiny.py:tiny", "tiny.py:swapped"), encoding="utf-8")
    name = "trace-fp32-iOS15"

    assert not measure(swapped, tmp_path, {name: variants()[name]})
