"""Functions of PyTorch that an exporter or a converter lacks -> others that answer the same, for every frontend.

A mode sees the functions that a module calls while it is traced or exported, and calls others in the place of
some. What these call in turn it does not see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from conversion.flattened import MOST_AXES, Tall, sizes_of
from conversion.tall import flat_answer

if TYPE_CHECKING:
    from torch.overrides import TorchFunctionMode


def for_coreml(open_trace: bool = False) -> TorchFunctionMode:
    """Make a torch mode that calls what coremltools converts in the place of what it cannot.

    open_trace: whether a trace is to hold for other sizes than its example has. Values of six axes stay then, since
    a trace does not tell a size from a number.
    """
    import torch

    functions = torch.nn.functional
    table: dict[Any, Callable[..., Any]] = {
        torch.Tensor.zero_: lambda values: values.fill_(0.0),
        torch.addcmul: _addcmul,
        torch.Tensor.addcmul: _addcmul,
        torch.Tensor.unfold: unfold,
        functions.fold: fold,
        functions.scaled_dot_product_attention: attention,
        torch.Tensor.__setitem__: set_item,
        torch.einsum: einsum,
    }
    swaps = (torch.swapaxes, torch.swapdims, torch.Tensor.swapaxes, torch.Tensor.swapdims)
    return _mode(table | dict.fromkeys(swaps, _swapped), None if open_trace else Tall())


def for_onnx() -> TorchFunctionMode:
    """Make a torch mode that calls what onnxscript converts in the place of what it cannot."""
    import torch

    return _mode({torch.nn.functional.scaled_dot_product_attention: attention}, None)


def for_coreai() -> TorchFunctionMode:
    """Make a torch mode that calls what coreai-torch converts in the place of what it refuses or gets wrong."""
    import torch

    functions = torch.nn.functional
    table: dict[Any, Callable[..., Any]] = {
        functions.adaptive_avg_pool1d: partial(mean_of_all, 1),
        functions.adaptive_avg_pool2d: partial(mean_of_all, 2),
        functions.adaptive_avg_pool3d: partial(mean_of_all, 3),
        functions.avg_pool2d: mean_of_windows,
        functions.fold: fold,
        functions.normalize: normalized,
    }
    return _mode(table, None)


def normalized(values: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, **settings: Any) -> Any:
    """Divide by a norm, and by no less than fp16 holds where that is the type: there 1e-12 is zero.

    torchvision's second Swin normalises the zeros with which it pads, and 0 / 0 is no number.
    """
    import torch

    least = torch.finfo(values.dtype).tiny if values.is_floating_point() else 0.0
    return NotImplemented if eps >= least else torch.nn.functional.normalize(values, p, dim, least, **settings)


def mean_of_all(rank: int, values: Any, output_size: Any) -> Any:
    """Average over all of the last axes, so many: where channels come last PyTorch ends with as_strided.

    coreai-torch lacks that. The pools of torchvision's and transformers' Swin and timm's CoAtNet are such.
    """
    sizes = (output_size,) if isinstance(output_size, int) else output_size
    return values.mean(tuple(range(-rank, 0)), keepdim=True) if set(sizes) == {1} else NotImplemented


def mean_of_windows(
    values: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Average windows of what is padded by hand, and divide by the like of ones: what of each window counts.

    coreai-torch 0.4.3 counts padding whether it is to or not, and fails at ceil_mode. timm's poolformer has pools
    whose padding does not count.
    """
    import torch

    functions = torch.nn.functional
    kernel, pads = list(_pair(kernel_size)), list(_pair(padding))
    steps = list(_pair(stride)) if stride else kernel
    if not ceil_mode and (count_include_pad or not any(pads)):
        return NotImplemented
    beyond = [_beyond(*one) if ceil_mode else 0 for one in zip(values.shape[-2:], kernel, steps, pads, strict=True)]
    sides = [pads[1], pads[1], pads[0], pads[0]]
    further = [0, beyond[1], 0, beyond[0]]

    def pooled(image: Any, counted: float) -> Any:
        wide = functions.pad(functions.pad(image, sides, value=counted), further)
        return functions.avg_pool2d(wide, kernel, steps, divisor_override=divisor_override)

    sums = pooled(values, 0.0)
    if divisor_override:
        return sums
    return sums / pooled(torch.ones_like(values[..., :1, :, :]), float(count_include_pad))


def _beyond(size: int, kernel: int, step: int, pad: int) -> int:
    """Say how far the last window reaches beyond the padding; it begins in the data or in the padding before it."""
    count = -(-(size + 2 * pad - kernel) // step) + 1
    if (count - 1) * step >= size + pad:
        count -= 1
    return max(0, (count - 1) * step + kernel - size - 2 * pad)


def unfold(values: Any, dimension: int, size: int, step: int) -> Any:
    """Gather windows along an axis as Tensor.unfold views them: they become the last axis.

    coremltools lacks it; timm's halonet needs it.
    """
    import torch

    if values.dim() == 0:
        return NotImplemented
    axis = dimension % values.dim()
    sizes = list(values.shape)
    count = (sizes[axis] - size) // step + 1
    places = (torch.arange(count) * step).unsqueeze(1) + torch.arange(size)
    # In a trace coremltools makes the count a float, and with it what is counted.
    windows = torch.index_select(values, axis, places.reshape(-1).int())
    rank = len(sizes)
    order = [*range(axis + 1), *range(axis + 2, rank + 1), axis + 1]
    return windows.reshape(*sizes[:axis], -1, size, *sizes[axis + 1 :]).permute(order)


def fold(
    blocks: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """Add up blocks as F.fold does, by a transposed convolution whose every filter is 1 in one place.

    The order of the sums may differ. coremltools converts blocks that do not overlap; those of timm's volo do.
    """
    import torch

    outputs, kernel, spread, rim, strides = map(_pair, (output_size, kernel_size, dilation, padding, stride))
    if blocks.dim() == 2:
        return fold(blocks.unsqueeze(0), outputs, kernel, spread, rim, strides).squeeze(0)
    area = kernel[0] * kernel[1]
    channels = sizes_of(blocks)[1] // area
    spans = [gap * (length - 1) + 1 for gap, length in zip(spread, kernel, strict=True)]
    counts = [
        (length + 2 * edge - span) // step + 1
        for length, edge, span, step in zip(outputs, rim, spans, strides, strict=True)
    ]
    places = torch.eye(area, dtype=blocks.dtype).reshape(area, 1, *kernel).repeat(channels, 1, 1, 1)
    grid = blocks.reshape(-1, channels * area, *counts)
    wide = torch.nn.functional.conv_transpose2d(grid, places, stride=strides, dilation=spread, groups=channels)
    # The last blocks may end before the image does, by less than a step.
    wide = torch.nn.functional.pad(wide, (0, strides[1] - 1, 0, strides[0] - 1))
    (top, left), (height, width) = rim, outputs
    return wide[:, :, top : top + height, left : left + width]


def attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, **settings: Any
) -> Any:
    """Attend with four axes, as many as onnxscript 0.7 takes; timm's hiera has five."""
    import torch

    batches = [part.shape[:-3] for part in (query, key, value)]
    uneven = any(len(batch) != len(batches[0]) for batch in batches)
    if uneven or len(batches[0]) < 2 or batches[0] != batches[1] or batches[0] != batches[2]:
        return NotImplemented
    if attn_mask is not None and attn_mask.dim() > 2:
        return NotImplemented
    last = query.dim() - 4
    parts = [part.flatten(0, last) for part in (query, key, value)]
    attend: Any = torch.nn.functional.scaled_dot_product_attention
    answer = attend(*parts, attn_mask, dropout_p, **settings)
    return answer.unflatten(0, batches[0])


def set_item(values: Any, index: Any, part: Any) -> Any:
    """Write a part of a tensor by slices alone: coremltools loses the kind of a number that is written at a place.

    transformers' Beit writes into its table of relative positions so.
    """
    import torch

    items = index if isinstance(index, tuple) else (index,)
    if not any(_is_place(item) for item in items) or not all(_is_place(i) or isinstance(i, slice) for i in items):
        return NotImplemented
    places = [axis for axis, item in enumerate(items) if _is_place(item)]
    slices = tuple(slice(item, item + 1 or None) if _is_place(item) else item for item in items)
    # One number fits all shapes; coremltools takes some of no axis for such of one.
    if isinstance(part, torch.Tensor) and part.dim():
        lacking = values.dim() - len(places) - part.dim()
        if lacking < 0:
            return NotImplemented
        for axis in (*[0] * lacking, *places):
            part = part.unsqueeze(axis)
    values[slices] = part
    return None


def einsum(equation: Any, *operands: Any) -> Any:
    """Sum products of two tensors as a product of matrices, where one has more than five axes."""
    import torch

    letters = equation.replace(" ", "") if isinstance(equation, str) else "."
    terms, arrow, result = letters.partition("->")
    one, _, other = terms.partition(",")
    if len(operands) != 2 or max(map(len, (one, other, result))) <= MOST_AXES:
        return NotImplemented
    alone = set(one) ^ set(other)
    repeated = any(len(set(word)) < len(word) for word in (one, other, result))
    if not arrow or "." in letters or repeated or alone - set(result):
        return NotImplemented
    shared = [letter for letter in one if letter in other and letter in result]
    summed = [letter for letter in one if letter in other and letter not in result]
    rows, columns = ([letter for letter in word if letter in alone] for word in (one, other))
    first, second = (
        dict(zip(word, sizes_of(operand), strict=False))
        for word, operand in zip((one, other), operands, strict=True)
    )
    if any(first[letter] != second[letter] for letter in first.keys() & second.keys()):
        return NotImplemented
    lengths = first | second

    def matrices(operand: Any, word: str, *axes: Sequence[str]) -> Any:
        ordered = operand.permute([word.index(letter) for run in axes for letter in run])
        return ordered.reshape([math.prod(lengths[letter] for letter in run) for run in axes])

    left = matrices(operands[0], one, shared, rows, summed)
    right = matrices(operands[1], other, shared, summed, columns)
    order = [*shared, *rows, *columns]
    products = torch.matmul(left, right).reshape([lengths[letter] for letter in order])
    return products.permute([order.index(letter) for letter in result])


def _mode(table: dict[Any, Callable[..., Any]], tall: Tall | None) -> TorchFunctionMode:
    from torch.overrides import TorchFunctionMode

    class Respelling(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            settings = dict(kwargs or {})
            if not args and "input" in settings:
                args = (settings.pop("input"),)
            if function in table:
                # What it calls may need to be spelled anew too; it never calls what it was called for alike.
                with self:
                    answer = table[function](*args, **settings)
                if answer is not NotImplemented:
                    return answer
            if tall is not None:
                answer = flat_answer(tall, function, args, settings)
                if answer is not NotImplemented:
                    return answer
            return function(*args, **settings)

    return Respelling()


def _addcmul(values: Any, one: Any, other: Any, *, value: float = 1.0) -> Any:
    product = one * other
    return values + (product if value == 1 else product * value)


def _swapped(values: Any, *axes: int, **named: int) -> Any:
    names = {"axis0": "dim0", "axis1": "dim1"}
    return values.transpose(*axes, **{names.get(name, name): axis for name, axis in named.items()})


def _pair(number: Any) -> Sequence[Any]:
    return tuple(number) if isinstance(number, (tuple, list)) else (number, number)


def _is_place(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)
