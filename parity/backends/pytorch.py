"""The reference: PyTorch eager, on the CPU, in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.errors import ConversionError
from conversion.task import PROBABILITIES
from parity.core.errors import ParityError
from parity.core.results import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conversion import Model
    from conversion.task import Task
    from parity.backends import Predict


def load_reference(model: Model, batch: int = 1) -> Predict:
    """Wrap the model as every route does, and predict with it, one image at a time unless told otherwise.

    One at a time because that is what the phone does, and because a batch takes other kernels.
    """
    import torch

    from conversion.deployed import check_model, deployed_module, pixels_to_tensor

    check_model(model)
    module = deployed_module(model)

    def predict(pixels: np.ndarray) -> Prediction:
        try:
            with torch.inference_mode():
                parts = (pixels[start : start + batch] for start in range(0, len(pixels), batch))
                answers = [module(pixels_to_tensor(part)) for part in parts]
        except ConversionError:
            raise
        except Exception as error:  # the module's own: a size that it was not made for, memory that runs out
            height, width = pixels.shape[1:3]
            said = " ".join(str(error).split()) or type(error).__name__
            raise ParityError(
                f"{model.name}: the module fails on an image of {height}x{width} (height x width): {said}; "
                f"its own size is {'x'.join(map(str, model.preprocessing.size))}"
            ) from error
        return _prediction(model, answers)

    return predict


def _prediction(model: Model, answers: Sequence[Any]) -> Prediction:
    """Name what the deployed module answered, batch by batch."""
    specs = model.task.outputs
    batches = [answer if isinstance(answer, tuple | list) else (answer,) for answer in answers]
    if any(len(batch) != len(specs) for batch in batches):
        raise ParityError(
            f"{model.name}: the deployed module gives {len(batches[0])} outputs, and the task names {len(specs)} "
            f"({', '.join(spec.name for spec in specs)}); let the task's head return one for each"
        )
    columns = [np.concatenate([tensor.numpy() for tensor in column]) for column in zip(*batches, strict=True)]
    return named(model.task, columns)


def named(task: Task, columns: Sequence[np.ndarray]) -> Prediction:
    """Make a reference's prediction of a task's outputs, [N, ...] each, in their order."""
    if [spec.kind for spec in task.outputs] == [PROBABILITIES]:
        return Prediction(columns[0], task.labels)
    outputs = {spec.name: column for spec, column in zip(task.outputs, columns, strict=True)}
    return Prediction(outputs=outputs, labels=task.labels or None, specs=task.outputs)


def check_repeatable(classifier: Model, predict: Predict, pixels: np.ndarray) -> Prediction:
    """Predict for one image twice and return the answer; two answers are a ParityError.

    What does not agree with itself (live dropout, batch statistics) is no reference.
    """
    first, second = predict(pixels[:1]), predict(pixels[:1])
    pairs = [(first.outputs[name], second.outputs[name]) for name in first.outputs]
    if not all(np.array_equal(one, two, equal_nan=True) for one, two in pairs):
        apart = max(float(np.abs(one - two).max()) for one, two in pairs)
        raise ParityError(
            f"{classifier.name}: PyTorch answers the same image differently twice (by {apart:.1e}); "
            "something in the module is random, dropout perhaps: it cannot be a reference"
        )
    return first
