from __future__ import annotations

import subprocess
import sys

import pytest

from conversion.files.coreml_messages import coreml_messages


def test_the_classes_come_without_the_rest_and_are_those_of_coremltools() -> None:
    script = """
import sys
from conversion.files.coreml_messages import coreml_messages
names = ("Model_pb2", "MIL_pb2", "NeuralNetwork_pb2")
before = [coreml_messages(name) for name in names]
print("coremltools" in sys.modules, "torch" in sys.modules)
model = before[0].Model(specificationVersion=9)
from conversion.guards.quiet import import_coremltools
proto = import_coremltools().proto
print(proto.Model_pb2.Model is before[0].Model, proto.MIL_pb2.Value is before[1].Value)
print([coreml_messages(name) is getattr(proto, name) for name in names])
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n")[:3] == ["False False", "True True", "[True, True, True]"]


def test_without_coremltools_it_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    for name in ("coremltools.proto", "coremltools.proto.Model_pb2"):  # which another test may have imported
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match="coremltools"):
        coreml_messages("Model_pb2")
