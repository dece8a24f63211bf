"""What is done to the pixels before the first layer: scale, bias, order of the channels, turned or shifted images.

What enters the network is fitted to what enters PyTorch's, channel by channel, on a picture that has no symmetry.
Whatever was done, the repair is the same: the network reads PyTorch's normalisation of the image instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import INPUT_FIT, INPUT_SAME
from parity.diagnosis import fixes
from parity.diagnosis.network_input import ORIENTATIONS, Entry, Fit, entrances, fitted, image_at, is_same, turn
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.types import WRAPPER

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination

_CHANNELS = ("red", "green", "blue")
# One std for all channels lies among theirs, or so near to them, as a share.
_NEAR = 0.9
# By what the ranges that are in use differ: 0..255, 0..1, -1..1, -128..127. Any other factor is another std.
_RANGES = (255.0, 127.5, 128.0, 2.0)


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Fit what enters the first layer to what PyTorch's module reads."""
    graph, values = examination.file.graph, examination.candidate.values(examination.torch.probe)
    if graph is None or values is None:
        return
    expected = examination.torch.module_input[0]
    possible = entrances(graph, values, expected.shape)
    if not possible or is_same(image_at(values, possible[-1]), expected):
        return
    entered = _entered(examination, values, possible[-1])
    if any(is_same(image_at(values, entry), expected) for entry in possible) and _has_own_steps(examination):
        if not np.isfinite(image_at(values, possible[-1])).all():
            return  # what overflows before it is said where precision is looked at
        # What comes behind may be the module's own: it is tried out, but was not seen.
        entered = (replace(suspect, seen=False) for suspect in entered)
    yield from entered


def _has_own_steps(examination: Examination) -> bool:
    """Say whether the module does something to the image before its first layer."""
    program = examination.torch.program
    if program is None:
        return True
    first = next((s for s in program.steps if s.weights and s.module != WRAPPER), None)
    return first is None or any(
        number in program.producer and program.steps[program.producer[number]].module != WRAPPER
        for number in first.inputs
    )


def _entered(examination: Examination, values: Mapping[str, np.ndarray], entry: Entry) -> Iterator[Suspect]:
    """Say what the first layer reads in the place of PyTorch's normalised image."""
    expected = examination.torch.module_input[0]
    image = image_at(values, entry)
    repair = _repair(examination, entry)
    fit = fitted(image, expected)
    if fit.share >= INPUT_FIT:
        yield from _named(fit, examination, repair)
        return
    for name, (quarters, mirror) in ORIENTATIONS.items():
        turned = turn(expected, quarters, mirror)
        if turned.shape == image.shape and (other := fitted(image, turned)).share >= INPUT_FIT:
            yield Suspect("pre-exif-orientation", f"The image enters the network {name}.", repair, seen=True)
            if not _plain(other):
                yield from _named(other, examination, repair)
            return
    if known := [*_shifted(image, expected, repair), *_mixed(examination, image, repair)]:
        yield from known
        return
    if not np.isfinite(image).all():
        count = int((~np.isfinite(image)).sum())
        message = f"What enters the network is not finite: {count} of {image.size} numbers are NaN or infinite."
        yield Suspect("pre-non-finite", message, repair, seen=True)
        return
    yield Suspect(
        "pre-unknown-input",
        f"What enters the network is not PyTorch's normalised image, which explains "
        f"{100 * max(fit.share, 0):.0f} % of the numbers.",
        repair,
        seen=True,
    )


def _plain(fit: Fit) -> bool:
    return fit.in_order and np.allclose(fit.slope, 1, atol=2e-3) and np.allclose(fit.offset, 0, atol=INPUT_SAME)


def _named(fit: Fit, examination: Examination, repair: Repair) -> Iterator[Suspect]:
    """Name what a fit says."""
    statistics = examination.reference.model.preprocessing
    mean, std = np.array(statistics.mean), np.array(statistics.std)
    if not fit.in_order:
        order = "".join(_CHANNELS[i][0].upper() for i in fit.source)
        bgr = fit.source == (2, 1, 0)
        yield Suspect(
            "pre-bgr-swap" if bgr else "pre-channel-order",
            "Red and blue are swapped: the channels enter the network as BGR."
            if bgr
            else f"The channels enter the network in the order {order}, not RGB.",
            repair,
            seen=True,
            fix=fixes.channels(
                examination, fit.source, not _permuted_statistics(fit, statistics.mean, statistics.std)
            ),
        )
    # What the channel of PyTorch that this one shows was normalised with.
    mean, std = mean[list(fit.source)], std[list(fit.source)]
    slope, offset = np.array(fit.slope), np.array(fit.offset)
    if np.allclose(slope, 1, atol=2e-3) and np.allclose(offset, 0, atol=INPUT_SAME):
        return
    if not fit.in_order and _permuted_statistics(fit, statistics.mean, statistics.std):
        return  # the right numbers, for channels in another order
    fault, message = _name(slope, offset, mean, std)
    yield Suspect(
        fault,
        message,
        repair,
        seen=True,
        fix=fixes.normalisation(examination, bare=bool(np.allclose(slope / std / 255, 1, rtol=2e-3))),
    )


def _permuted_statistics(fit: Fit, mean: Sequence[float], std: Sequence[float]) -> bool:
    own, wanted = np.array(std), np.array(std)[list(fit.source)]
    slope = wanted / own
    offset = (np.array(mean)[list(fit.source)] - np.array(mean)) / own
    return np.allclose(fit.slope, slope, rtol=2e-3) and np.allclose(fit.offset, offset, atol=INPUT_SAME)


def _name(slope: np.ndarray, offset: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[str, str]:
    """Name scale and bias. What enters is slope * (x / 255 - mean) / std + offset."""
    scale = slope / std / 255  # of a pixel 0..255
    bias = offset - slope * mean / std
    right_scale, right_bias = 1 / (255 * std), -mean / std
    wanted = f"scale {_list(right_scale)} and bias {_list(right_bias)}"
    tight = float(np.abs(bias).max()) <= 1e-2
    if np.allclose(scale, 1, rtol=2e-3) and float(np.abs(bias).max()) <= 0.1:
        return "pre-missing-normalise", (
            "The network sees pixels 0..255: there is no scale and no bias, but PyTorch divides by 255 and "
            f"normalises; it takes {wanted}."
        )
    if np.allclose(scale, 1 / 255, rtol=2e-3) and tight:
        return "pre-missing-normalise", (
            "The network sees pixels 0..1: they are divided by 255, but not normalised by mean "
            f"{_list(mean)} and std {_list(std)}."
        )
    if twice := _twice(slope, offset, mean, std):
        return "pre-normalisation", twice
    ranges = [ratio for known in _RANGES for ratio in (known, 1 / known)]
    if np.allclose(slope, slope[0], rtol=2e-3) and np.isclose(slope[0], ranges, rtol=5e-3).any():
        missing = {255.0: "the factor 1/255 is missing from the scale", 1 / 255: "1/255 is applied twice"}
        remark = next((text for ratio, text in missing.items() if np.isclose(slope[0], ratio, rtol=5e-3)), "")
        size = "too large" if slope[0] > 1 else "as large as they should be"
        return "pre-range-0-1-vs-0-255", (
            f"Inputs reach the network {slope[0]:.4g} times {size} (slope ratio {slope[0]:.4g})"
            + (f": {remark}." if remark else f", offset by {_list(offset)}.")
        )
    if np.allclose(slope, 1, atol=2e-3):
        kinds = {
            "-mean instead of -mean/std": -mean,
            "of the wrong sign": mean / std,
            "missing": 0 * mean,
            "-mean*255 instead of -mean/std": -255 * mean,
            "-mean*255/std instead of -mean/std": -255 * mean / std,
        }
        remark = next((f" (it is {k})" for k, v in kinds.items() if np.allclose(bias, v, rtol=2e-2, atol=2e-2)), "")
        return "pre-bias-formula", (
            f"Input offset is wrong by {_list(offset)}{remark}; bias must be -mean/std = {_list(right_bias)}, "
            "because the scale is applied before the bias."
        )
    # One number in the place of several is among these: their mean, mostly, or one of them.
    alone = 1 / (255 * scale[0])
    among = _NEAR * std.min() < alone < std.max() / _NEAR
    if among and np.allclose(scale, scale[0], rtol=5e-4) and not np.allclose(std, std[0]):
        return "pre-scalar-std", (
            f"Scale is a single number (std {alone:.4g}) but PyTorch uses a std per channel {_list(std)}: "
            f"slopes are off by {_list(slope)}, offsets by {_list(offset)}; normalise inside the model."
        )
    if np.allclose(scale, 1 / 255, rtol=2e-3):
        return "pre-range-0-1-vs-0-255", (
            f"The scale is 1/255 without 1/std {_list(std)}: slopes are off by {_list(slope)}."
        )
    return "pre-normalisation", (
        f"The image enters the network as x * {_list(scale)} + {_list(bias)} for pixels 0..255; PyTorch "
        f"takes {wanted}."
    )


def _twice(slope: np.ndarray, offset: np.ndarray, mean: np.ndarray, std: np.ndarray) -> str:
    """Say that what enters is the normalised image normalised once more; empty where it is not."""
    ratios = {"": 1 / std, " (and divided by 255 once more)": 1 / (255 * std)}
    fits = (
        remark
        for remark, ratio in ratios.items()
        if np.allclose(slope, ratio, rtol=2e-3) and np.allclose(offset, -mean / std, atol=INPUT_SAME)
    )
    remark = next(fits, None)
    if remark is None:
        return ""
    return (
        f"The image is normalised twice{remark}: (x - mean) / std with mean {_list(mean)} and std {_list(std)} is "
        "taken of what is normalised already; take one out, that of the image input or that in the module."
    )


def _shifted(image: np.ndarray, expected: np.ndarray, repair: Repair) -> Iterator[Suspect]:
    for down in (-2, -1, 0, 1, 2):
        for right in (-2, -1, 0, 1, 2):
            if (down, right) == (0, 0):
                continue
            moved = np.roll(expected, (down, right), axis=(-2, -1))[:, 2:-2, 2:-2]
            if fitted(image[:, 2:-2, 2:-2], moved).share >= INPUT_FIT:
                shifts = ", ".join(
                    f"{abs(count)} pixel(s) {word}"
                    for count, word in (
                        (down, "down" if down > 0 else "up"),
                        (right, "right" if right > 0 else "left"),
                    )
                    if count
                )
                yield Suspect(
                    "pre-crop-geometry", f"The image enters the network shifted by {shifts}.", repair, seen=True
                )
                return


def _mixed(examination: Examination, image: np.ndarray, repair: Repair) -> Iterator[Suspect]:
    """Look for channels that are mixtures of the image's, before they were normalised: grey of colours, say."""
    probe = examination.torch.probe
    if image.shape != (3, *probe.shape[:2]) or probe.shape[2] != 3 or not np.isfinite(image).all():
        return
    statistics = examination.reference.model.preprocessing
    mean, std = (np.array(v, np.float64).reshape(3, 1, 1) for v in (statistics.mean, statistics.std))
    shown = (image * std + mean).reshape(3, -1).T
    known = np.concatenate([probe.reshape(-1, 3) / 255, np.ones((shown.shape[0], 1))], axis=1)
    weights, *_ = np.linalg.lstsq(known, shown, rcond=None)
    rest = shown - known @ weights
    if float((rest**2).sum()) > (1 - INPUT_FIT) * float(((shown - shown.mean(axis=0)) ** 2).sum()):
        return
    if np.allclose(weights[:, 0], weights[:, 1], atol=1e-2) and np.allclose(
        weights[:, 0], weights[:, 2], atol=1e-2
    ):
        message = f"In the model the image is made grey: red, green and blue weigh {_list(weights[:3, 0])}."
    else:
        rows = "; ".join(_list(weights[:3, i]) for i in range(3))
        message = f"In the model the channels are mixed: red, green and blue weigh {rows}."
    yield Suspect("pre-colour-mode", message, repair, seen=True)


def _repair(examination: Examination, entry: Entry) -> Repair:
    statistics = examination.reference.model.preprocessing
    mean, std = np.array(statistics.mean, np.float64), np.array(statistics.std, np.float64)
    scale, bias = examination.file.artifact.contract.of_input(1 / (255 * std), -mean / std)
    return Repair(edit=lambda model: model.replace_input(entry.value, entry.readers, scale, bias))


def _list(numbers: np.ndarray) -> str:
    return f"({', '.join(f'{float(number):.4g}' for number in numbers)})"
