"""The contract of a file in words: what the app must do before it and behind it, and who says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from conversion.contract import Contract

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.classifier import Preprocessing

_RANGES = {"0..255": "pixels 0..255", "0..1": "x/255", "-1..1": "x/127.5 - 1"}
_KNOWN = {
    "stated": "as is stated",
    "declared": "as the file declares it",
    "measured": "as measured on these images, for nobody states it",
    "nearest": "as comes nearest on these images, for nobody states it, and nothing restores parity",
    "assumed": "as our own conversions do it, for nobody states it, and no other is measured to be nearer",
}


def app_part(contract: Contract, preprocessing: Preprocessing | None = None) -> str:
    """Say what the app must do around the file, in one line: before it; behind it.

    preprocessing: from a picture to pixels, where that is to be said too.
    """
    grey = preprocessing is not None and preprocessing.channels == 1
    colours = "grey" if grey else "RGB"
    before = [*(_picture(preprocessing) if preprocessing else ()), *_numbers(contract), colours]
    before += [contract.layout] if contract.layout else []
    behind = [] if "softmax" in contract.inside else ["softmax"]
    if preprocessing and "labels" not in contract.inside:
        behind.append("the name of the largest, by its place in the list of classes")
    return "; ".join(filter(None, (", ".join(before), ", ".join(behind))))


def _picture(preprocessing: Preprocessing) -> Iterator[str]:
    resize, (height, width) = preprocessing.resize, preprocessing.size
    if isinstance(resize, int):
        yield f"resize the shorter side to {resize} ({preprocessing.interpolation})"
    elif resize:
        yield f"resize to {resize[0]}x{resize[1]} ({preprocessing.interpolation})"
    if resize != preprocessing.size:
        yield f"crop {height}x{width}" if height != width else f"crop {height}"


def _numbers(contract: Contract) -> Iterator[str]:
    if "normalise" in contract.inside:
        yield _RANGES[contract.range]
        return
    yield "x/255"
    yield f"(x - mean)/std with mean {_listed(contract.mean)} and std {_listed(contract.std)}"


def _listed(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:.6g}' for number in numbers)})"


def inside_shown(contract: Contract) -> str:
    """Write `inside` as a suite file has it."""
    return f"inside = {json.dumps(contract.inside)}"


def contract_shown(contract: Contract) -> str:
    """Write a contract short, by which two of them are told apart; empty for that of our own conversions."""
    if contract.is_whole and not (contract.layout or contract.names or contract.input or contract.output):
        return ""
    named = [f"{name} {value}" for name in ("layout", "input", "output") if (value := getattr(contract, name))]
    return "; ".join([app_part(contract), *named, *(["classes numbered"] if contract.names else [])])


def contract_told(artifact: Artifact) -> str:
    """Say in a remark what is left to the app, and how that is known; empty where nothing is."""
    contract = artifact.contract
    numbered = "its class labels are whole numbers, taken for places in the list of classes; the app must do so"
    parts = [numbered] if contract.names else []
    if not contract.is_whole or contract.layout:
        known = known_told(contract)
        how = f" (state it: {_statement(contract)})" if contract.source in ("measured", "nearest") else ""
        parts.insert(0, f"the app must, {known}: {app_part(contract)}{how}")
    return "; ".join(parts)


def known_told(contract: Contract) -> str:
    """Say how a contract is known."""
    return _KNOWN[contract.source]


def _statement(contract: Contract) -> str:
    range_ = "" if contract.range == "0..255" else f', range = "{contract.range}"'
    kept = Contract(tuple(step for step in contract.inside if step != "labels"))
    return f"{inside_shown(kept)}{range_}"


def unstated_told(artifact: Artifact) -> str:
    """Say that nobody states what a file does itself; empty where somebody does, or the file declares it."""
    contract = artifact.contract
    if contract.source in ("stated", "declared"):
        return ""
    return (
        f"nobody states what the file does itself; measured, the app must: {app_part(contract)}; state it by "
        f"{_statement(contract)} in the suite file, or --inside"
    )
