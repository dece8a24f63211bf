"""Numbers that are none, or that would let anything pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.attack.attack import FAILS, NOT_GREEN, REFUSED, Attack, Outcome
from tests.attack.place import STREAM

CHECK = ("parity", "check", "models.py:tiny", "keep.onnx", "--images", "pictures", "--no-explain")
RUN = ("parity", "run", "--no-explain")
JUDGE = ("parity", "judge", "results.json")
PREDICT = ("parity", "predict", "keep.onnx", "pictures/picture0.png")
STREAMED = ("parity", "run", *STREAM, "--no-explain", "--json", "new.json")
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "x", "", "1e400", "0x10", "1,5", "٣", "9" * 5000)
WHOLE = (*NUMBERS, "1.5", str(-(2**63)))
# Option -> commands that have it, and the values that are no such number.
OPTIONS: dict[str, tuple[dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "--tolerance": ({"check": CHECK, "judge": JUDGE}, (*NUMBERS, "1", "2")),
    "--tolerance-scale": ({"check": CHECK, "run": RUN}, NUMBERS),
    "--batch": ({"check": CHECK, "stream": STREAMED}, WHOLE),
    "--top": ({"predict": PREDICT}, WHOLE),
    "--time-limit": ({"predict": PREDICT, "check": CHECK, "run": RUN}, ("nan", "-inf", "-1", "x", "")),
    "--max-unreadable": ({"stream": STREAMED}, ("nan", "inf", "-1", "2", "x", "")),
    "--workers": ({"stream": STREAMED}, ("nan", "-1", "x", "", "1.5")),
    "--shard": ({"stream": STREAMED}, ("0/0", "0/2", "3/2", "1/0", "-1/2", "x", "", "1/2/3")),
    "--size": ({"check": CHECK}, ("0x0", "-1x32", "32", "x", "", "32x32x32", f"{10**6}x{10**6}", f"{10**30}x1")),
    "--backend": ({"check": CHECK, "predict": PREDICT, "run": RUN}, ("", "x", "onnxruntime ", "pytorch")),
    "--route": ({"run": RUN}, ("", "x", "mlprogram")),
    "--quantile": ({"calibrate": ("parity", "calibrate")}, ("nan", "0", "1", "-1", "2", "x", "")),
}
# As options.py's mlprogram: a route that exists but that the suite does not name may be refused or inconclusive.
_DISTINCT = {("--route", "mlprogram"): NOT_GREEN}


def _constant(place: Path) -> None:
    """Write a file that answers the same to every picture, and is nearly as sure as the model."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(place / "keep.onnx"))
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    weight.CopyFrom(numpy_helper.from_array(np.zeros(tuple(weight.dims), np.float32), weight.name))
    (place / "constant.onnx").write_bytes(model.SerializeToString())


def _not_called_good(place: Path, outcome: Outcome) -> str:
    return "says that parity holds" if "parity holds" in outcome.output else ""


LOOSE = (
    ("--tolerance", "0.97"),
    ("--tolerance", "0.9999999"),
    ("--tolerance-scale", "1e9"),
    ("--tolerance-scale", "1e300"),
    ("--tolerance", "0.6"),
)


def attacks() -> Iterator[Attack]:
    """Give every bad number to every command that takes it, and an artefact that is wrong to loose ones."""
    for option, (commands, values) in OPTIONS.items():
        for command, words in commands.items():
            for value in dict.fromkeys(values):
                if option in ("--tolerance-scale", "--top", "--batch") and value == "٣":
                    continue  # Python's own numbers are written in any script
                name = f"options/{option} {value[:20] if len(value) < 100 else 'of 5,000 digits'}/{command}"
                codes = _DISTINCT.get((option, value), frozenset({REFUSED}))
                yield Attack(name, (*words, option, value), codes=codes, writes=("new*",))
    check = ("parity", "check", "models.py:tiny", "constant.onnx", "--no-explain")
    for loose in LOOSE:
        for images in ("pictures", "pictures/picture0.png"):
            words = (*check, "--images", images, *loose)
            name = f"options/constant answers, {' '.join(loose)}, {images}/check"
            yield Attack(name, words, _constant, NOT_GREEN, check=_not_called_good)
    for images in ("pictures/picture0.png", "pictures/picture1.png"):
        words = ("parity", "check", "models.py:tiny", "keep.onnx", "--images", images)
        yield Attack(f"options/one image, {images}/check", words, codes=frozenset({3}), check=_not_called_good)
    for tolerance in ("0.97", "0.999"):
        words = ("parity", "judge", "constant.json", "--tolerance", tolerance)
        yield Attack(
            f"options/constant answers, {tolerance}/judge", words, _judged, NOT_GREEN, check=_not_called_good
        )
    for count in (10**7, 2**31, 2**63, 10**30):
        words = (*CHECK, "--batch", str(count))
        yield Attack(f"options/--batch {count}/check", words, codes=frozenset({0, REFUSED, FAILS}))


def _judged(place: Path) -> None:
    """Let the command itself write the results of a file that answers the same to every picture."""
    import subprocess
    import sys

    _constant(place)
    words = ["check", "models.py:tiny", "constant.onnx", "--no-explain", "--images", "pictures"]
    command = [sys.executable, "-m", "parity.cli", *words, "--json", "constant.json"]
    subprocess.run(command, cwd=place, capture_output=True, check=False)
