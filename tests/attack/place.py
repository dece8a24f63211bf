"""The place that attacks work in: made once by the commands themselves, and copied for every attack."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.attack.attack import Attack
from tests.attack.running import run_in

SUITE = """\
images = ["pictures/*.png"]
routes = ["onnx-torchscript"]

[models.tiny]
factory = "models.py:tiny"
"""
STREAM = ("--images", "pictures", "--workers", "0", "--batch", "4", "--backend", "onnxruntime")


COMMANDS = (
    "run --no-explain --json results.json --html report.html --junit junit.xml --markdown report.md",
    f"run --no-explain {' '.join(STREAM)} --json streamed.json",
    "record keep.onnx --images pictures --out record.json",
    "baseline record --reason first",
    "calibrate --backend onnxruntime --json calibration.json",
)


def make_place(place: Path) -> Path:
    """Write a suite, pictures, converted files, and one of every kind of file that commands write."""
    from tests.parity import tiny

    place.mkdir(parents=True)
    tiny.save_pictures(place / "pictures")
    shutil.copy(tiny.__file__, place / "models.py")
    (place / "parity.toml").write_text(SUITE, encoding="utf-8")
    for route, name in (("onnx-torchscript", "keep.onnx"), ("onnx-coreml", "keep.mlmodel")):
        shutil.copy(tiny.converted(route).path, place / name)
    for route, name in (("mlprogram", "keep.mlpackage"), ("mlprogram-fp32", "keep32.mlpackage")):
        shutil.copytree(tiny.converted(route).path, place / name)
    for command in COMMANDS:
        outcome = run_in(place, Attack("", ("parity", *command.split())))
        if outcome.code:
            raise RuntimeError(f"parity {command}: exit {outcome.code}\n{outcome.output}{outcome.errors}")
    return place
