"""Who recorded answers and where a route goes wrong: what results.json holds of them is read back as it was."""

from __future__ import annotations

import pytest

from parity.core.origin import Passage, RecordedBy


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "coreml-native (CPU_ONLY) on macOS 15.1 arm64",
            RecordedBy("coreml-native", "CPU_ONLY", "macOS 15.1 arm64"),
        ),
        ("coreml-native on macOS 15.1", RecordedBy("coreml-native", "", "macOS 15.1")),
        ("a phone (of mine) on a table", RecordedBy("a phone (of mine)", "", "a table")),
    ],
)
def test_who_recorded_is_written_and_read(text: str, value: RecordedBy) -> None:
    assert str(value) == text
    assert RecordedBy.parse(text) == value


def test_what_is_not_known_has_words() -> None:
    assert str(RecordedBy("")) == "an unnamed runtime on an unnamed system"
    assert RecordedBy.parse("") is None
    assert RecordedBy.parse("a phone") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("onnx unoptimised -> onnx optimised", Passage("onnx unoptimised", "onnx optimised")),
        ("onnx file -> onnxruntime", Passage("onnx file", "onnxruntime")),
        ("a -> b -> c", Passage("a -> b", "c")),
    ],
)
def test_where_a_route_goes_wrong_is_written_and_read(text: str, value: Passage) -> None:
    assert str(value) == text
    assert Passage.parse(text) == value


def test_a_route_that_does_not_go_wrong_has_no_such_place() -> None:
    assert Passage.parse("") is None
