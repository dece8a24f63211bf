"""Answers that are near enough, or those to other pixels, are never a fault of the converter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conversion import Artifact, Classifier, open_artifact
from parity import check
from parity.explaining import explain_artifact
from parity.images import load_images
from parity.results import Run, Subject
from tests.faults.architectures import classifier, images_of
from tests.faults.changing import each
from tests.faults.deploying import deploy, recipe
from tests.faults.elsewhere import (
    Way,
    by_jpeg,
    by_png,
    by_tensors,
    coarse_chroma,
    least_bits,
    record_of,
    usual,
)
from tests.faults.measuring import judged_here

Property = Callable[[str, object], None]

NETWORKS = ("plain", "resnet18")
BUDGETS = {"onnx": 1e-5, "mlprogram-fp32": 1e-4, "mlprogram": 1e-2}


def explained(given: Classifier, artifact: Artifact, record: Path | None = None) -> Subject:
    (subject,) = explain_artifact(given, artifact, images_of(given.name), record=record).subjects
    return subject


def compared(run: Run) -> list[Subject]:
    return [subject for subject in run.subjects if subject.verdict != "skipped"]
