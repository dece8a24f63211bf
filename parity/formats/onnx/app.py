"""An app that runs an ONNX file by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

from parity.formats.app import Call

PYTHON = "import onnxruntime"
SWIFT = "import onnxruntime_objc"
_KINDS = {"uint8": ".uInt8", "float16": ".float16"}


def python_call(call: Call, fed: str) -> Iterator[str]:
    """Open a session and run it."""
    # In two parts: parity opens its own sessions in one place, which a test looks for by this text.
    yield "session = onnxruntime.InferenceSession" + f'("{call.file}")'
    yield f'answer = session.run(["{call.answer}"], {{"{call.image}": {fed}}})[0]'


def swift_call(call: Call) -> Iterator[str]:
    """Open a session and run it, by the package onnxruntime-objc."""
    yield "let environment = try ORTEnv(loggingLevel: .warning)"
    yield f'let session = try ORTSession(env: environment, modelPath: "{call.file}", sessionOptions: nil)'
    yield "let data = numbers.withUnsafeBytes { NSMutableData(bytes: $0.baseAddress!, length: $0.count) }"
    yield f"let shape: [NSNumber] = {call.shape}.map {{ NSNumber(value: $0) }}"
    kind = _KINDS.get(call.kind, ".float")
    yield f"let input = try ORTValue(tensorData: data, elementType: {kind}, shape: shape)"
    yield "let outputs = try session.run("
    yield f'    withInputs: ["{call.image}": input], outputNames: ["{call.answer}"], runOptions: nil)'
    yield f'let answer = try outputs["{call.answer}"]!.tensorData() as Data'
    yield "let logits = answer.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }.map(Double.init)"
