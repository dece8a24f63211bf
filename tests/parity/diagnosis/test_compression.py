"""What compressed weights cost is measured on PyTorch's own module: by the file's grids, never by its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from conversion import Artifact
from conversion.deployed import answer_singly, deployed_module
from parity.backends.reference import make_reference
from parity.core.noise import COMPRESSION_CAP, FP16_FLOOR
from parity.core.tolerance import Tolerance
from parity.diagnosis.compression import Compression, compressed_copy, read_compression, sort_compressed
from parity.diagnosis.compression_cost import allowed_for, compressed_answers, compression_tolerance
from parity.diagnosis.weights import audit_weights, expected_weights
from parity.formats import format_of
from parity.formats.compression import CompressedWeight
from parity.formats.editing import Editable, edited
from parity.formats.graph import read_graph
from parity.suite.images import ImageSet
from tests.parity.compressing import PROGRAMS, answers, compressed, quantised_network, quantised_onnx, reference
from tests.parity.tiny import converted, tiny


@cache
def read(name: str, precision: str = "FLOAT16") -> Compression:
    compression = read_compression(tiny(), compressed(name, precision))
    assert compression is not None
    return compression


@pytest.mark.parametrize("name", PROGRAMS)
def test_pytorch_answers_as_the_file_does_once_its_own_weights_are_compressed_alike(name: str) -> None:
    """The copy never saw the file's numbers; that they agree says that grid, pairing and folding are right."""
    compression = read(name, "FLOAT32")
    assert (len(compression.sound), compression.absurd, compression.unpaired) in ((2, (), ()), (1, (), ()))

    own = compressed_answers(tiny(), compression.sound, reference().images.pixels, "fp32")
    exact = reference().prediction.probabilities

    moved = np.abs(own - exact).max()
    assert moved > 1e-3
    assert all(one.faithful for one in compression.sound)
    # There the codebook is rounded after each number had its entry: a few are nearer to another one since.
    if name != "quantised palette":
        assert np.abs(own - answers(compressed(name, "FLOAT32"))).max() < 0.1 * moved + 1e-4


@pytest.mark.parametrize(
    "artifact", [quantised_onnx, lambda: quantised_onnx(8), lambda: quantised_network(6, "linear_lut")]
)
def test_the_same_holds_for_other_formats(artifact: Callable[[], Artifact]) -> None:
    compression = read_compression(tiny(), artifact())

    assert compression is not None
    assert not compression.absurd
    own = compressed_answers(tiny(), compression.sound, reference().images.pixels, "fp32")
    assert np.abs(own - answers(artifact())).max() < 2e-3


def test_a_folded_batch_norm_is_unfolded_again() -> None:
    """PyTorch's convolution gets what, times the norm's scale, lies on the grid of the folded kernel."""
    compression = read("int8", "FLOAT32")
    first = next(one for one in compression.sound if len(one.weight.shape) == 4)
    module = compressed_copy(deployed_module(tiny()), [first])

    norm, kernel = module.module.norm, module.module.convolution.weight.detach().numpy().astype(np.float64)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy().astype(np.float64)
    assert first.weight.scale is not None
    steps = kernel * scale.reshape(-1, 1, 1, 1) / first.weight.scale

    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert np.abs(steps).max() == pytest.approx(127, abs=0.01)
    # All else is as it was.
    np.testing.assert_array_equal(module.module.linear.weight.detach(), tiny().module.linear.weight.detach())


def test_the_reason_says_what_it_costs_and_what_bounds_it() -> None:
    first, second = allowed_for(reference(), compressed("int8"))

    assert first.probability == FP16_FLOOR
    assert second.cost is not None
    assert second.probability == pytest.approx(min(max(3 * second.cost, FP16_FLOOR), COMPRESSION_CAP))
    assert second.compressed == "int8 weights"
    assert second.reason == (
        "int8 weights: 3 times what they cost the PyTorch module in fp16 on these images "
        f"({second.cost:.1e}), at least 0.01, at most 0.15"
    )


def test_of_many_images_the_reason_says_on_how_many_it_was_measured() -> None:
    pixels = np.concatenate([np.roll(reference().images.pixels, step, axis=1) for step in range(12)])[:70]
    names = tuple(f"{number}.png" for number in range(70))
    many = make_reference(tiny(), ImageSet(names, pixels))

    for precision, arithmetic in (("FLOAT16", " in fp16"), ("FLOAT32", "")):
        *_, allowed = allowed_for(many, compressed("int8", precision))

        start = (
            f"int8 weights: 3 times what they cost the PyTorch module{arithmetic} on 64 images, evenly spaced over"
        )
        assert allowed.reason.startswith(f"{start} all 70 (")


def test_without_compression_the_tolerances_are_what_they_were() -> None:
    for route in ("mlprogram", "mlprogram-fp32", "onnx-torchscript"):
        assert list(allowed_for(reference(), converted(route))) == list(reference().tolerances(converted(route)))


@pytest.mark.parametrize(("cost", "allowed"), [(1e-4, 1e-2), (2e-2, 6e-2), (0.1, 0.15), (0.7, 0.15)])
def test_the_tolerance_is_bounded(cost: float, allowed: float) -> None:
    tolerance = compression_tolerance(read("int8"), compressed("int8"), cost)

    assert tolerance.probability == pytest.approx(allowed)
    assert ("which is less than they cost" in tolerance.reason) == (cost > 0.15)


def test_in_fp32_the_floor_is_that_of_fp32() -> None:
    tolerance = compression_tolerance(read("int8", "FLOAT32"), compressed("int8", "FLOAT32"), 1e-6)

    assert tolerance.probability == 1e-4


def test_a_tolerance_that_is_multiplied_remembers_the_compression() -> None:
    from parity.core.tolerance import scaled

    assert scaled(Tolerance(0.01, "r", 0.2, "int8 weights"), 2) == Tolerance(
        0.02, "r, times 2", 0.2, "int8 weights"
    )


def regridded(name: str, change: Callable[[CompressedWeight], CompressedWeight]) -> Compression:
    """Read a file whose largest weight has another grid."""
    artifact = compressed(name)
    weights = format_of(artifact).compressed_weights(artifact)
    largest = max(weights, key=lambda weight: int(np.prod(weight.shape)))
    return sort_compressed(
        expected_weights(tiny(), read_graph(artifact)),
        [change(weight) if weight is largest else weight for weight in weights],
    )


def three_values(weight: CompressedWeight) -> CompressedWeight:
    assert weight.codebook is not None
    entries = weight.codebook.reshape(-1)
    few = np.resize([entries.min(), 0.0, entries.max()], entries.size)
    return replace(weight, codebook=few.reshape(weight.codebook.shape))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("int8", lambda weight: replace(weight, scale=100 * weight.scale)),
        ("int8", lambda weight: replace(weight, scale=weight.scale / 100)),
        ("int8 of iOS18", lambda weight: replace(weight, zero=np.full((1, 1), 300.0))),
        ("int4 in blocks", lambda weight: replace(weight, scale=4 * weight.scale)),
        ("pruned int8", lambda weight: replace(weight, scale=100 * weight.scale)),
        ("4-bit palette", three_values),
        ("even 6-bit palette", three_values),
        ("4-bit palette", lambda weight: replace(weight, codebook=0 * weight.codebook)),
    ],
)
def test_an_absurd_grid_widens_no_tolerance(
    name: str, change: Callable[[CompressedWeight], CompressedWeight]
) -> None:
    compression = regridded(name, change)

    assert [len(one.weight.shape) for one in compression.absurd] == [2]
    assert compression.absurd[0].worse > 2
    told = compression_tolerance(compression, compressed(name), 0.01).reason
    assert "the grid of 1 is none that compression makes" in told
    # The cost is that of the others alone.
    own = compressed_answers(tiny(), compression.sound, reference().images.pixels, "fp32")
    sound = [one for one in read(name).sound if len(one.weight.shape) != 2]
    np.testing.assert_array_equal(own, compressed_answers(tiny(), sound, reference().images.pixels, "fp32"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_grids_of_coremltools_are_sound(name: str) -> None:
    assert all(one.worse < 1.5 for one in read(name).sound)


def test_a_weight_that_is_not_pytorchs_costs_no_more_than_the_right_one(tmp_path: Path) -> None:
    """The head of another checkpoint, on the grid of the right one: nothing of it is excused."""

    def other(model: Editable) -> None:
        graph = read_graph(compressed("int8"))
        operation, place = next(
            (o, p) for o in graph.operations for p, a in o.weights.items() if a.shape == (8, 96)
        )
        model.set_weight(operation.name, place, operation.weights[place][::-1])

    broken = edited(compressed("int8"), [other], tmp_path)

    *_, right = allowed_for(reference(), compressed("int8"))
    *_, wrong = allowed_for(reference(), broken)
    assert wrong.probability <= right.probability
    assert np.abs(answers(broken) - reference().prediction.probabilities).max() > right.probability


def test_a_weight_without_a_partner_stays_exact_and_is_counted() -> None:
    compression = regridded("int8", lambda weight: replace(weight, name="somebody_else"))

    assert [weight.name for weight in compression.unpaired] == ["somebody_else"]
    told = compression_tolerance(compression, compressed("int8"), 0.01).reason
    assert told.endswith("; 1 of 2 compressed weights have no weight of PyTorch's, and count as exact")


def test_one_parameter_under_two_names_is_moved_once() -> None:
    one = read("int8").sound[0]

    once, twice = (
        answer_singly(compressed_copy(deployed_module(tiny()), some), reference().images.pixels)
        for some in ([one], [one, one])
    )

    np.testing.assert_array_equal(once, twice)


def test_the_audit_finds_what_the_file_says_harmless() -> None:
    findings = audit_weights(tiny(), compressed("int8")).findings

    assert [(f.kind, f.harmless, f.compressed) for f in findings] == [("quantised", True, True)] * 2
    assert "int8 per channel, as the file says" in findings[0].message


def test_a_module_that_cannot_be_copied_keeps_the_default_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("no two of\nme")

    monkeypatch.setattr("parity.diagnosis.compression.copy", SimpleNamespace(deepcopy=fails))
    own = replace(reference(), compression_costs={})

    first, second = allowed_for(own, compressed("int8"))
    default = list(reference().tolerances(compressed("int8")))[-1]

    assert first.probability == FP16_FLOOR
    assert second.probability == default.probability
    assert second.reason.endswith("; what compressed weights cost cannot be measured: no two of me")


def test_calibration_measures_the_same() -> None:
    from parity.backends.pytorch import load_reference
    from parity.calibration.noise import measure
    from parity.calibration.sources import compression_source

    predict, pixels = load_reference(tiny()), reference().images.pixels
    pair = compression_source(tiny(), compressed("int8"), predict)
    assert pair is not None

    noises = measure([pair[1]], [pixels])

    *_, allowed = allowed_for(reference(), compressed("int8"))
    assert noises[pair[1].name].largest == pytest.approx(allowed.cost, rel=1e-3)
    assert pair[1].name == "-: PyTorch, int8 weights"
    assert compression_source(tiny(), converted("mlprogram"), predict) is None
