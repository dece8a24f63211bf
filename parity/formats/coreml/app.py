"""An app that runs a Core ML file by Core ML."""

from __future__ import annotations

from collections.abc import Iterator

from parity.formats.app import Call

PYTHON = "import coremltools"
SWIFT = "import CoreML"
_KINDS = {"float64": ".double", "float16": ".float16", "int32": ".int32"}


def python_call(call: Call, fed: str) -> Iterator[str]:
    """Load the model and predict."""
    yield f'model = coremltools.models.MLModel("{call.file}")  # predicts on macOS'
    yield f'answer = model.predict({{"{call.image}": {fed}}})["{call.answer}"]'


def swift_call(call: Call) -> Iterator[str]:
    """Load the compiled model and predict."""
    yield f'let model = try MLModel(contentsOf: compiled)  // of MLModel.compileModel(at:) for "{call.file}"'
    if call.kind:
        kind = _KINDS.get(call.kind, ".float32")
        yield f"let array = try MLMultiArray(shape: {call.shape} as [NSNumber], dataType: {kind})"
        yield "for (place, number) in numbers.enumerated() { array[place] = NSNumber(value: Double(number)) }"
        yield "let input = MLFeatureValue(multiArray: array)"
    else:
        yield f'let constraint = model.modelDescription.inputDescriptionsByName["{call.image}"]!.imageConstraint!'
        yield "let input = try MLFeatureValue("
        yield "    cgImage: context.makeImage()!, constraint: constraint, options: nil)"
    yield f'let provider = try MLDictionaryFeatureProvider(dictionary: ["{call.image}": input])'
    yield "let answers = try model.prediction(from: provider)"
    if call.names:
        yield "// Name -> probability."
        yield f'let probabilities = answers.featureValue(for: "{call.answer}")!.dictionaryValue'
        return
    yield f'let output = answers.featureValue(for: "{call.answer}")!.multiArrayValue!'
    yield "let logits = (0..<output.count).map { output[$0].doubleValue }"
