"""A batch norm behind a convolution, folded: against PyTorch's own two operations, transposed and grouped too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from conversion import Classifier, convert
from parity.diagnosis.batch_norm import Unit, wrong_folds
from parity.diagnosis.weights import audit_weights
from tests.parity.tiny import LABELS, PREPROCESSING

SEEDS = st.integers(0, 2**31 - 1)


def _unit(
    groups: int, per_group: int, outputs: int, seed: int, transposed: bool
) -> tuple[Unit, nn.Module, nn.BatchNorm2d]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        conv = kind(groups * per_group, groups * outputs, 3, groups=groups).double().eval()
        norm = nn.BatchNorm2d(groups * outputs).double().eval()
        for vector in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert vector is not None
            nn.init.uniform_(vector, 0.2, 2.0)
    vectors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    arrays = tuple(vector.detach().numpy() for vector in vectors if vector is not None)
    assert conv.bias is not None
    unit = Unit(
        "conv",
        "convolution",
        conv.weight.detach().numpy(),
        conv.bias.detach().numpy(),
        arrays,
        norm.eps,
        groups=groups if transposed else 0,
    )
    return unit, conv, norm


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), SEEDS, st.booleans())
def test_folded_it_gives_what_the_two_give(
    groups: int, inputs: int, outputs: int, seed: int, transposed: bool
) -> None:
    unit, conv, norm = _unit(groups, inputs, outputs, seed, transposed)
    image = torch.randn(
        1, groups * inputs, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    with torch.no_grad():
        expected = norm(conv(image))
        conv.weight.copy_(torch.from_numpy(unit.folded()[0]))  # type: ignore[operator, union-attr]
        conv.bias.copy_(torch.from_numpy(unit.folded()[1]))  # type: ignore[operator, union-attr]

        assert torch.allclose(conv(image), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), SEEDS, st.booleans())
def test_a_number_a_channel_is_laid_out_and_measured_again(
    groups: int, inputs: int, outputs: int, seed: int, transposed: bool
) -> None:
    unit, _, _ = _unit(groups, inputs, outputs, seed, transposed)
    numbers = np.random.default_rng(seed).normal(size=unit.outputs)
    sizes = unit.summed(np.square(unit.kernel))

    assert np.allclose(unit.summed(np.square(unit.kernel) * unit.spread(numbers)), numbers * sizes)


class Enlarging(nn.Module):
    """Enlarge by a transposed convolution of two groups, with a batch norm behind it."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.up, self.norm = nn.ConvTranspose2d(8, 12, 2, 2, groups=groups), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, len(LABELS))
        for vector in (self.norm.weight, self.norm.running_var):
            assert vector is not None
            nn.init.uniform_(vector, 0.2, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(torch.relu(self.norm(self.up(torch.relu(self.stem(x))))).mean((2, 3)))
        return y


@pytest.mark.parametrize(("groups", "wrong"), [(1, []), (2, ["batch norm folded without its bias"])])
def test_coremltools_folds_across_the_groups_of_a_transposed_convolution(
    groups: int, wrong: list[str], tmp_path: Path
) -> None:
    # The day it does not, the second is empty too, and the name can go.
    with torch.random.fork_rng():
        torch.manual_seed(1)
        classifier = Classifier("enlarging", Enlarging(groups).eval(), PREPROCESSING, LABELS)
    artifact = convert(classifier, "mlprogram-fp32", tmp_path)

    findings = audit_weights(classifier, artifact).findings

    assert [finding.kind for finding in findings] == wrong
    assert all("across the groups of a transposed convolution" in finding.message for finding in findings)


def test_the_mistakes_are_of_as_many_numbers_as_the_fold() -> None:
    unit, _, _ = _unit(2, 2, 3, 1, True)

    for _, (kernel, bias) in wrong_folds(unit, unit.scale):
        assert kernel.shape == unit.kernel.shape
        assert bias.shape == (unit.outputs,)
