"""The verdicts of an audit: what the images show, what they do not, and whether the advice is true."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps

from conversion import Artifact, Classifier, convert
from conversion.images import find_images
from parity import check
from parity.audit.advice import rounded
from parity.audit.bench import Bench, Broken, largest_move
from parity.audit.findings import Audit, AuditLeg, MutantFinding, MutantVerdict, summarise
from parity.audit.mutant import Mutant, Original, Sample
from parity.audit.probes import KINDS, make_probes
from parity.audit.run import audit_mutants, caught_elsewhere, check_patterns, judge_mutant
from parity.core.errors import ParityError
from parity.core.results import Environment, KnownIssue, Prediction
from parity.diagnosis.compression_cost import allowed_for
from parity.judging import judge_with_prediction
from parity.suite.models import load_classifier
from tests.parity.audit.benches import bench, saved, scratch
from tests.parity.compressing import compressed
from tests.parity.compressing import reference as compressible
from tests.parity.test_injected_faults import ROOT
from tests.parity.tiny import converted, pictures, tiny

ROUTE = "onnx-torchscript"


@cache
def digits() -> Classifier:
    return load_classifier(f"{ROOT}/fixtures/models.py:mobilenet_v2_digits")


@cache
def digits_converted() -> Artifact:
    return convert(digits(), ROUTE, scratch())


def scans() -> list[Image.Image]:
    paths = find_images([str(ROOT / "fixtures" / "images" / "digits" / "*.png")], ROOT)
    return [Image.open(path).convert("RGB") for path in paths[::2]]


def found(given: Bench, *faults: str) -> list[MutantFinding]:
    return list(audit_mutants(given, faults))


@cache
def tiny_bench(tolerance: float | None = None, route: str = ROUTE) -> Bench:
    return bench(converted(route), tiny(), saved(pictures()), tolerance)


def test_grey_digits_miss_the_swap_and_a_colour_image_catches_it() -> None:
    grey = [ImageOps.grayscale(scan) for scan in scans()]
    missed = found(bench(digits_converted(), digits(), saved(grey)), "pre-bgr-swap")
    # The advice is followed: a tinted scan beside the grey ones.
    tinted = Image.fromarray((np.asarray(scans()[0]) * np.array([1.0, 0.5, 0.2])).astype(np.uint8))
    caught = found(bench(digits_converted(), digits(), saved([*grey, tinted])), "pre-bgr-swap")

    assert [f.verdict for f in missed] == ["missed", "missed"]
    assert all([a.kind for a in f.advice] == ["colour"] and f.advice[0].verified for f in missed)
    assert [(f.verdict, f.caught_by) for f in caught] == [("caught", ("6.png",)), ("caught", ("6.png",))]


def test_square_scans_miss_geometry_and_a_wide_one_catches_it() -> None:
    square = scans()
    missed = found(bench(digits_converted(), digits(), saved(square)), "pre-crop-geometry")
    wide = Image.fromarray(np.concatenate([np.asarray(square[0]), np.asarray(square[1])], axis=1))
    caught = found(bench(digits_converted(), digits(), saved([*square, wide])), "pre-crop-geometry")

    told = {f.told: f for f in missed}
    for name in ("scaleFill", "scaleFit"):
        (one,) = (f for text, f in told.items() if name in text)
        assert (one.verdict, [a.kind for a in one.advice]) == ("missed", ["non-square"])
    verdicts = [f.verdict for f in caught if "scaleFill" in f.told or "scaleFit" in f.told]
    assert verdicts == ["caught", "caught"]


@pytest.mark.parametrize(("tolerance", "verdict"), [(1e-5, "caught"), (0.5, "missed")])
def test_a_wide_tolerance_misses_epsilon_and_the_advice_is_a_number_that_does_not(
    tolerance: float, verdict: str
) -> None:
    (finding,) = (f for f in found(tiny_bench(tolerance), "g-norm-eps") if f.place == "epsilon 0.001")

    assert finding.verdict == verdict
    assert finding.max_abs_diff == pytest.approx(2.4e-4, rel=0.1)  # as measured with PyTorch's own epsilon changed
    if verdict == "missed":
        (advice,) = (a for a in finding.advice if a.kind == "tolerance")
        assert advice.verified
        assert advice.tolerance is not None
        (again,) = (f for f in found(tiny_bench(advice.tolerance), "g-norm-eps") if f.place == "epsilon 0.001")
        assert again.verdict == "caught"
        good = check(tiny(), converted(ROUTE), pictures(), ["onnxruntime"], advice.tolerance)
        assert good.exit_code == 0


def test_a_wide_tolerance_misses_more_than_epsilon() -> None:
    missed = {f.fault for f in found(tiny_bench(0.5)) if f.verdict == "missed"}

    assert {"g-norm-eps", "p-weight-quant", "pre-scalar-std", "head-temperature"} <= missed
    # The padding turns a label round, which no tolerance excuses.
    assert {"head-softmax-missing", "head-softmax-axis", "lab-count-mismatch", "g-pad-asymmetric"}.isdisjoint(
        missed
    )


def test_advice_is_an_orientation_a_transparent_image_and_detail() -> None:
    expected = {"pre-exif-orientation": "exif", "pre-colour-mode": "transparent", "pre-interp-kernel": "detailed"}
    for fault, kind in expected.items():
        missed = [f for f in found(tiny_bench(), fault) if f.verdict == "missed"]
        assert missed
        assert all((f.advice[0].kind, f.advice[0].verified) == (kind, True) for f in missed)


def test_a_fault_that_changes_nothing_is_a_control() -> None:
    """The pool of 4 divides the feature map of 16, so nothing hangs over."""
    (finding,) = found(tiny_bench(), "g-pool-ceil-shape")

    assert finding.verdict == "equivalent"
    assert finding.reason.startswith("moves nothing on ")
    assert finding.advice == ()


def test_pixels_that_stay_as_they_are_are_a_control() -> None:
    finding = judge_mutant(
        tiny_bench(), Mutant("pre-decoder", "nothing was done", pixels=lambda sample: sample.pixels)
    )

    assert finding.verdict == "equivalent"


def test_what_does_not_load_is_caught_by_all() -> None:
    finding = judge_mutant(
        tiny_bench(),
        Mutant("g-operation", edit=lambda model: setattr(model.content.graph.node[0], "op_type", "Subb")),
    )

    assert (finding.verdict, len(finding.caught_by)) == ("caught", 6)
    assert "Subb" in finding.reason
    assert str(scratch()) not in finding.reason


def test_exchanged_labels_that_no_image_shows_are_missed() -> None:
    """Two pictures show two classes of eight."""
    given = bench(converted(ROUTE), tiny(), saved(pictures()[:2]), 1e-2)
    (finding,) = (f for f in found(given, "lab-order-permuted") if "exchanged" in f.told)

    assert finding.verdict == "missed"
    assert finding.advice[0].kind == "classes"
    assert "2 image(s) show 2 of 8" in finding.advice[0].told
    assert "7 classes show every exchange" in finding.advice[0].told


def test_a_batch_that_is_baked_in_is_missed_and_a_second_one_shows_it() -> None:
    given = bench(converted(ROUTE), tiny(), saved(pictures()), batches=True)
    finding = found(given, "s-batch-baked")[0]

    assert (finding.verdict, [(a.kind, a.verified) for a in finding.advice]) == ("missed", [("batch", True)])


def test_a_size_that_is_baked_in_is_missed_and_another_shows_it() -> None:
    artifact = convert(digits(), ROUTE, scratch(), "size", [[48, 48], [96, 96]])
    finding = found(bench(artifact, digits(), saved(scans())), "s-flexible-shape")[0]

    assert (finding.verdict, [(a.kind, a.verified) for a in finding.advice]) == ("missed", [("size", True)])
    assert "--size 96x96" in finding.advice[0].told


def test_fp16_hides_epsilon_and_the_advice_is_fp32() -> None:
    (finding,) = (f for f in found(tiny_bench(None, "mlprogram"), "g-norm-eps") if f.place == "epsilon 0.001")

    assert finding.verdict in ("missed", "equivalent")
    assert all(a.kind in ("route", "tolerance") for a in finding.advice)


# Legs, by hand


def leg(route: str, precision: str, became: MutantVerdict, **changes: object) -> AuditLeg:
    caught = ("a.png",) if became == "caught" else ()
    mutant = MutantFinding("g-norm-eps", "first", "eps", became, caught_by=caught, max_abs_diff=1e-3)
    given = AuditLeg("m", route, "b", "a", "mlprogram", precision, True, "pass", mutants=(mutant,))
    return replace(given, **changes)  # type: ignore[arg-type]


def audit(*legs: AuditLeg) -> Audit:
    return Audit(Environment("3", "here", {}), legs, summarise(legs))


def of_converter(given: AuditLeg) -> AuditLeg:
    return replace(given, mutants=tuple(replace(m, converter=True) for m in given.mutants))


def test_what_compression_may_cost_hides_no_fault_that_a_run_would_catch() -> None:
    """The mutant moves the answers by less than 4-bit palettes may cost, and by more than fp16 does."""
    artifact = compressed("4-bit palette")
    *_, allowed = allowed_for(compressible(), artifact)
    subject, clean = judge_with_prediction(compressible(), artifact, "coreml-evaluator")
    assert clean is not None
    darker = Mutant("pre-bgr-swap", pixels=lambda sample: np.clip(sample.pixels * 0.9, 0, 255).astype(np.uint8))
    made_bench = Bench(Original(artifact, compressible()), "coreml-evaluator", allowed, clean, scratch())

    finding = judge_mutant(made_bench, darker)
    alone = judge_mutant(replace(made_bench, tolerance=replace(allowed, compressed="")), darker)

    assert subject.verdict == "pass"
    assert (alone.verdict, finding.verdict) == ("missed", "caught")
    assert 0.05 < (alone.max_abs_diff or 0) < allowed.probability
    unchanged = judge_mutant(made_bench, Mutant("g-norm-eps", edit=lambda model: None))
    assert unchanged.verdict == "equivalent"
    # The file of a mutant has a twin too, a copy of the module, which goes with the file.
    assert not any(scratch() in path.parents for path in compressible().twins)


def test_a_converters_fault_that_fp32_catches_is_caught() -> None:
    low, high = of_converter(leg("mlprogram", "fp16", "missed")), leg("mlprogram-fp32", "fp32", "caught")
    (first, second) = caught_elsewhere((low, high))

    assert first.mutants[0].verdict == "caught"
    assert "mlprogram-fp32 of this suite catches it" in first.mutants[0].reason
    assert second == high


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (leg("mlprogram", "fp16", "missed"), leg("mlprogram-fp32", "fp32", "caught")),
        (of_converter(leg("mlprogram", "fp16", "missed")), leg("mlprogram-fp32", "fp32", "missed")),
        (of_converter(leg("mlprogram", "fp16", "missed")), leg("onnx", "fp32", "caught", format="onnx")),
        (of_converter(leg("mlprogram", "fp16", "missed")), leg("mlprogram-fp32", "fp32", "caught", model="n")),
        (of_converter(leg("mlprogram-fp32", "fp32", "missed")), leg("other", "fp32", "caught")),
    ],
)
def test_other_faults_stay_missed(low: AuditLeg, high: AuditLeg) -> None:
    assert caught_elsewhere((low, high))[0].mutants[0].verdict == "missed"


@pytest.mark.parametrize(
    ("legs", "code"),
    [
        ((leg("r", "fp32", "caught"),), 0),
        ((leg("r", "fp32", "caught"), leg("r", "fp32", "missed")), 1),
        ((leg("r", "fp32", "equivalent"),), 3),
        ((leg("r", "fp32", "not applicable"),), 3),
        ((), 3),
        ((leg("r", "fp32", "caught"), leg("r", "fp32", "caught", audited=False, verdict="fail", mutants=())), 1),
        ((leg("r", "fp32", "caught", verdict="error", mutants=(), known_issue=KnownIssue("so", "")),), 3),
    ],
)
def test_the_exit_code(legs: tuple[AuditLeg, ...], code: int) -> None:
    assert audit(*legs).exit_code == code


def test_a_pattern_that_no_fault_has_is_refused() -> None:
    check_patterns(["pre-*", "head-softmax-twice"])
    with pytest.raises(ParityError, match=r"--faults pre_\*: no fault has such a name \(faults: pre-bgr-swap,"):
        check_patterns(["pre-*", "pre_*"])


# Parts


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (Prediction(np.array([[0.7, 0.3]]), ("a", "b")), 0.1),
        (Prediction(np.array([[0.2, 0.8]]), ("b", "a")), 0.0),
        (Prediction(np.array([[0.8, 0.2]]), ("a", "c")), np.inf),
        (Prediction(np.array([[0.8, np.nan]]), ("a", "b")), np.inf),
        (Prediction(np.array([[0.8]]), None), np.inf),
        (Broken("no"), np.inf),
    ],
)
def test_how_far_answers_move(after: Prediction | Broken, expected: float) -> None:
    assert largest_move(Prediction(np.array([[0.8, 0.2]]), ("a", "b")), after) == pytest.approx(expected)


@pytest.mark.parametrize(("number", "expected"), [(0.01234, 0.012), (5.67e-5, 5.7e-5), (0.5, 0.5), (0.0, 0.0)])
def test_a_tolerance_has_two_digits(number: float, expected: float) -> None:
    assert rounded(number) == pytest.approx(expected, rel=1e-9)


def test_probes_are_of_the_kind_that_they_are_named_after() -> None:
    grey = [Image.new("L", (40, 40), level) for level in (20, 120, 220)]
    made = make_probes(grey, (32, 32))

    assert set(made) == set(KINDS)
    for image in made["colour"]:
        pixels = np.asarray(image).astype(int)
        assert np.abs(pixels[..., 0] - pixels[..., 2]).max() > 10
    assert all(image.width != image.height for image in made["non-square"])
    assert [image.getexif()[0x0112] for image in made["exif"]] == [6, 3]
    assert all(image.mode == "RGBA" for image in made["transparent"])
    assert all(min(image.size) > 2 * 32 for image in made["detailed"])
    corner = np.asarray(made["asymmetric"][0])
    assert not np.array_equal(corner, corner[:, ::-1])


def test_a_sample_of_the_suite_has_the_files_themselves() -> None:
    given: Sample = tiny_bench().sample

    assert [picture.size for picture in given.pictures] == [(32, 32)] * 6
    assert given.names == tuple(f"{i}.png" for i in range(6))
