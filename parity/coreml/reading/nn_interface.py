"""Where a NeuralNetwork meets its caller: input shapes, image preprocessing, output shapes, class labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from parity.core.errors import CoreMLError
from parity.coreml.ops.few_channels import row_by_row
from parity.coreml.program import Value
from parity.coreml.shapes import array_shapes

_BGR = 30

_add_ = row_by_row(torch.Tensor.add_)


@dataclass(frozen=True)
class Step:
    """Hold a function of one tensor that belongs to the interface, not to a layer.

    view: its result may share memory with its input.
    """

    name: str
    run: Callable[[torch.Tensor], tuple[torch.Tensor]]
    view: bool = False


def read_input(feature: Any, network: Any, path: str) -> tuple[Value, tuple[Step, ...]]:
    """Read one input: the shapes that a caller may give, and the step to the shape that the layers see."""
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        # The caller's image comes as [1, C, H, W].
        shaping = Step("rank 5", lambda x: (x[None],), view=True)
        image = Value(feature.name, "fp32", (1, _channels(feature.type.imageType), None, None))
        return image, () if network.imageInputShapeMapping else (shaping,)
    if kind != "multiArrayType":
        raise CoreMLError(
            f"{path}: input `{feature.name}` has the type {kind}; a neural network takes images and arrays"
        )
    shapes = array_shapes(feature.type.multiArrayType)
    if not shapes:
        raise CoreMLError(f"{path}: the array input `{feature.name}` has no shape; convert again with one")
    shape, *others = shapes
    if network.arrayInputShapeMapping:
        return Value(feature.name, "fp32", shape, tuple(others)), ()
    if len(shape) not in (1, 3):
        raise CoreMLError(
            f"{path}: input `{feature.name}` has {len(shape)} axes; under the shape mapping RANK5 an array is [C] "
            "or [C, H, W]; convert with the mapping EXACT"
        )
    for one in (shape, *others[:]):
        # Sequence and batch stand in front where the caller gives them.
        others.append((None, None, *one, *(1,) * (3 - len(one))))
    return Value(feature.name, "fp32", shape, tuple(others)), (Step("rank 5", _to_rank_5, view=True),)


def _to_rank_5(x: torch.Tensor) -> tuple[torch.Tensor]:
    if x.ndim == 5:
        return (x,)
    return (x[None, None] if x.ndim == 3 else x.reshape(1, 1, -1, 1, 1),)


def read_preprocessing(description: Any, network: Any, path: str) -> Mapping[str, Sequence[Step]]:
    """Read what is done to the pixels of each image input; without a name it is the first one."""
    images = {f.name: f.type.imageType for f in description.input if f.type.WhichOneof("Type") == "imageType"}
    steps: dict[str, list[Step]] = {}
    for one in network.preprocessing:
        name = one.featureName or next(iter(images), "")
        if name not in images:
            raise CoreMLError(
                f"{path}: preprocessing for `{name}`, which is no image input; the model has "
                f"{', '.join(images) or 'none'}; convert again"
            )
        kind = one.WhichOneof("preprocessor")
        if kind == "scaler":
            steps.setdefault(name, []).extend(_scaler(one.scaler, images[name]))
        elif kind == "meanImage":
            steps.setdefault(name, []).append(_mean_image(one.meanImage, images[name], f"{path}: input `{name}`"))
    return steps


def _scaler(scaler: Any, image: Any) -> list[Step]:
    biases = [scaler.redBias, scaler.greenBias, scaler.blueBias]
    if _channels(image) == 1:
        biases = [scaler.grayBias]
    elif image.colorSpace == _BGR:
        biases.reverse()
    if scaler.channelScale == 1 and not any(biases):
        return []
    scale, offset = scaler.channelScale, torch.tensor(biases).reshape(-1, 1, 1)
    return [Step("scaler", lambda x: (_add_(x * scale, offset),))]


def _mean_image(message: Any, image: Any, where: str) -> Step:
    shape = (_channels(image), int(image.height), int(image.width))
    mean = torch.tensor(list(message.meanImage), dtype=torch.float32)
    if mean.numel() != shape[0] * shape[1] * shape[2]:
        raise CoreMLError(
            f"{where}: the mean image has {mean.numel()} value(s), an image of {list(shape)} takes "
            f"{shape[0] * shape[1] * shape[2]}; convert again"
        )
    mean = mean.reshape(shape)
    return Step("mean image", lambda x: (x - mean,))


def _channels(image: Any) -> int:
    return 3 if image.ColorSpace.Name(image.colorSpace) in ("RGB", "BGR") else 1


def read_labels(network: Any, path: str) -> list[str] | list[int]:
    """Read a classifier's labels, in the order of its probabilities."""
    kind = network.WhichOneof("ClassLabels")
    labels = list(getattr(network, kind).vector) if kind else []
    if not labels:
        raise CoreMLError(f"{path}: the classifier has no class labels; convert again with them")
    return labels


def classify(labels: Sequence[Any]) -> Callable[[torch.Tensor], tuple[Any, dict[Any, float]]]:
    """Make the function from probabilities to (label, label -> probability); of equals the first wins."""

    def run(probabilities: torch.Tensor) -> tuple[Any, dict[Any, float]]:
        flat = probabilities.reshape(-1)
        if len(flat) != len(labels):
            raise ValueError(
                f"the file has {len(labels)} class labels for {len(flat)} probabilities; convert again with one "
                "label for each"
            )
        return labels[int(flat.argmax())], dict(zip(labels, flat.tolist(), strict=True))

    return run
