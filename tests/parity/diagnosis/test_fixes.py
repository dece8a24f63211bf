"""What to write instead: for every fault and every format that can have it, in the terms of that format's tool."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from parity.backends.reference import make_reference
from parity.diagnosis.fixes import FIXES, compute_units, fix
from parity.suite.images import load_images
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.deploying import recipe
from tests.faults.file_catalogue import FILE_FAULTS
from tests.faults.measuring import judged
from tests.faults.onnx_edits import NoPlaceError
from tests.parity.diagnosis.faulty import broken, explained, good, reference
from tests.parity.tiny import pictures, tiny

# The words of a tool, where somebody would type them. torch.onnx.export is onnx-coreml's first half.
WORDS = {
    "onnx": (r"\bct\.", "coremltools", "ImageType", r"onnx_coreml", "preprocessing_args", r"\bspec\."),
    "mlprogram": (r"torch\.onnx", r"onnx_coreml", "preprocessing_args", "dynamic_axes", "onnxruntime"),
    "neuralnetwork": (r"\bct\.", "ImageType", "ClassifierConfig", "compute_precision", "onnxruntime", r"MLModel\("),
    "coreai": (
        r"\bct\.",
        r"torch\.onnx",
        "onnx_coreml",
        "ImageType",
        "ClassifierConfig",
        "onnxruntime",
        r"\bspec\.",
    ),
}
OWN = {
    "declared BGR": ("ct.ImageType", "is_bgr"),
    "scale and bias": ("Normalize", "Normalize", "ct.ImageType", "image_scale"),
    "labels": ("convert(classifier", "convert(classifier", "ct.ClassifierConfig", "class_labels"),
    "size": ("torch.onnx.export", "torch.export.export", "ct.ImageType", "onnx_coreml"),
    "output's name": ("torch.onnx.export", "TorchConverter", "ct.utils", "onnx_coreml"),
}
VALUES: dict[str, Any] = {
    "names": '"conv_1"',
    "nones": '"conv_1": None',
    "order": [2, 0, 1],
    "mean": "(1,)",
    "std": "(2,)",
    "scale": "3",
    "biases": "4",
    "red": "5",
    "green": "6",
    "blue": "7",
    "image": "x",
    "batch": 8,
    "fixed": 1,
    "height": 9,
    "width": 10,
    "wanted": "probs",
    "name": "y",
    "unit": "CPU_ONLY",
    "swift": "cpuOnly",
}


def foreign(text: str, format_: str) -> list[str]:
    return [word for word in WORDS[format_] if re.search(word, text)]


@pytest.mark.parametrize(("kind", "format_"), [(kind, f) for kind, lines in FIXES.items() for f in lines])
def test_every_fix_of_the_table_is_in_the_terms_of_its_format(kind: str, format_: Any) -> None:
    names = {name for _, name, _, _ in string.Formatter().parse(FIXES[kind][format_]) if name}

    line = fix(kind, format_, **{name: VALUES[name] for name in names})

    assert line
    assert not re.search(r"\{\w+\}", line)
    assert foreign(line, format_) == []


@pytest.mark.parametrize("kind", OWN)
def test_the_tools_own_words_are_there(kind: str) -> None:
    lines = list(FIXES[kind].values())

    assert len(lines) == len(OWN[kind])
    assert all(word in line for word, line in zip(OWN[kind], lines, strict=True))


def test_the_unit_is_named_as_each_side_names_it() -> None:
    assert compute_units("mlprogram", "CPU_ONLY") == (
        "ct.models.MLModel(path, compute_units=ct.ComputeUnit.CPU_ONLY)"
    )
    assert compute_units("neuralnetwork", "CPU_AND_GPU") == "configuration.computeUnits = .cpuAndGpu"


# Every fault that is injected, in every format that can carry it


TELLING = ("pre-", "lab-", "head-", "p-", "mode-")
CARRIED = [
    (fault, format_name)
    for fault in (*FAULTS, *FILE_FAULTS)
    for format_name in fault.formats
    if fault.causes[0].startswith(TELLING) and len(fault.causes) == 1 and not fault.train
    # An ML Program's fixes are the same in both precisions, but for those of the precision.
    if format_name != "mlprogram" or fault.formats == ("mlprogram",)
]


@pytest.mark.parametrize(("fault", "format_name"), CARRIED, ids=lambda value: getattr(value, "name", value))
def test_no_cause_and_no_fix_speaks_of_another_tool(fault: Fault, format_name: str, tmp_path: Path) -> None:
    loaded = fault.reference(tiny()) if fault.reference else tiny()
    changed = fault.change(loaded, format_name) if loaded else None
    if loaded is None or changed is None:
        pytest.skip("the small network has no place for it")
    against = make_reference(loaded, load_images(pictures(), loaded.preprocessing))
    try:
        subject, _ = judged(against, changed, format_name, tmp_path, edit=fault.edit)
    except NoPlaceError as error:
        pytest.skip(str(error))

    for diagnosis in subject.diagnoses:
        assert foreign(f"{diagnosis.message}\n{diagnosis.fix}", format_name.removesuffix("-fp32")) == [], diagnosis
        assert bool(diagnosis.evidence) == diagnosis.confirmed


# A fix that is followed mends the file


def reordered(image: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    """Exchange channels in operations that onnx-coreml converts, as its fix does."""
    return torch.cat([image[:, i : i + 1] for i in order], 1)


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1)])
@pytest.mark.parametrize("format_name", ["onnx", "mlprogram-fp32", "neuralnetwork"])
def test_channels_that_changed_places_behind_the_normalisation_are_put_back_there(
    order: tuple[int, ...], format_name: str, tmp_path: Path
) -> None:
    right, against = recipe(tiny()), reference(tiny)
    inverse = [order.index(i) for i in range(3)]
    wrong = right.but(before=lambda image: reordered(image, order))

    subject, _ = judged(against, wrong, format_name, tmp_path / "wrong")

    (cause,) = subject.diagnoses
    assert cause.fault == ("pre-bgr-swap" if order == (2, 1, 0) else "pre-channel-order")
    assert str(inverse) in cause.fix
    assert "first in the module's forward" in cause.fix
    mended = right.but(before=lambda image: reordered(reordered(image, order), inverse))
    assert judged(against, mended, format_name, tmp_path / "mended")[0].verdict == "pass"


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("format_name", ["onnx", "mlprogram-fp32", "neuralnetwork"])
def test_channels_that_changed_places_before_it_are_put_back_there(
    order: tuple[int, ...], format_name: str, tmp_path: Path
) -> None:
    right, against = recipe(tiny()), reference(tiny)
    inverse = [order.index(i) for i in range(3)]
    back = {"scale": [right.scale[i] for i in inverse], "bias": [right.bias[i] for i in inverse]}
    # Reordering behind a normalisation whose statistics are reordered too is reordering before the right one.
    wrong = right.but(
        scale=tuple(back["scale"]), bias=tuple(back["bias"]), before=lambda image: reordered(image, order)
    )

    subject, _ = judged(against, wrong, format_name, tmp_path)

    (cause,) = subject.diagnoses
    if order == (2, 1, 0):
        assert (
            cause.fix
            == {
                "onnx": "image = image[:, [2, 1, 0]] before it is normalised, then torch.onnx.export",
                "mlprogram-fp32": "ct.convert(..., inputs=[ct.ImageType(..., color_layout=ct.colorlayout.BGR)])",
                "neuralnetwork": 'onnx_coreml.convert(..., preprocessing_args={"is_bgr": True})',
            }[format_name]
        )
    else:
        assert str(inverse) in cause.fix
        assert "before it is normalised" in cause.fix


def test_the_normalisation_that_is_named_has_the_digits_that_parity_needs(tmp_path: Path) -> None:
    right, against = recipe(tiny()), reference(tiny)
    subject, _ = judged(against, right.but(scale=(1.0,) * 3, bias=(0.0,) * 3), "onnx", tmp_path / "wrong")
    (cause,) = subject.diagnoses
    numbers = [float(number) for number in re.findall(r"[\d.]+", cause.fix.partition("Normalize")[2])]
    mean, std = numbers[:3], numbers[3:6]

    followed = right.but(
        scale=tuple(1 / s for s in std), bias=tuple(-m / s for m, s in zip(mean, std, strict=True))
    )

    assert judged(against, followed, "onnx", tmp_path / "mended")[0].verdict == "pass"


def test_a_file_that_declares_bgr_is_declared_anew() -> None:
    def declared(specification: Any) -> None:
        specification.description.input[0].type.imageType.colorSpace = 30

    programs, networks = (
        explained(broken(good(route, tiny), declared), reference(tiny))
        for route in ("mlprogram-fp32", "onnx-coreml")
    )

    assert programs.diagnoses[0].fix == (
        "ct.convert(..., inputs=[ct.ImageType(..., color_layout=ct.colorlayout.RGB)])"
    )
    assert networks.diagnoses[0].fix == 'onnx_coreml.convert(..., preprocessing_args={"is_bgr": False})'
