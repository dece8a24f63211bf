"""A calibration from end to end: what enters a leg's proposal, what never does, and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conversion import Artifact, Classifier, ConversionError
from parity.calibration.calibration import Calibration, calibrate
from parity.calibration.calibration_file import to_json
from parity.calibration.proposals import Proposal
from parity.calibration.sources import FP16, FP16_ONLY, FP16_WEIGHTS
from parity.core.errors import ParityError
from parity.core.tolerance import Tolerance
from parity.suite.suite import ModelEntry, Selection, Suite
from tests.parity.tiny import LABELS, PREPROCESSING, Tiny, converted, save_pictures, shifted, tiny, untrained

ROUTES = ("onnx-torchscript", "mlprogram", "mlprogram-fp32")
HERE = ("onnxruntime", "onnx-reference", "coreml-evaluator")


class Dropping(Tiny):
    """Drops what it has found, in evaluation too: a functional dropout that nobody told."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(image), 0.5, training=True)


def dropping() -> Classifier:
    return Classifier("dropping", Dropping().eval(), PREPROCESSING, LABELS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("calibration")
    save_pictures(place / "photos")
    return place


@pytest.fixture(autouse=True)
def _linux(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a Mac the same tests must say the same.
    monkeypatch.setattr("platform.system", lambda: "Linux")


Calibrated = Callable[..., Calibration]


@pytest.fixture
def calibrated(place: Path, monkeypatch: pytest.MonkeyPatch) -> Calibrated:
    """Calibrate one model whose artefacts were made from another, which is by default itself."""

    def run(
        make: Callable[[], Classifier] = tiny,
        routes: Sequence[str] = ROUTES,
        made_from: Callable[[], Classifier] | None = None,
        tolerance: dict[str, Tolerance] | None = None,
        records: tuple[Path, ...] = (),
        convert: Callable[..., Artifact] | None = None,
        backends: Sequence[str] = (),
        **options: object,
    ) -> Calibration:
        def by_make(classifier: Classifier, route: str, *rest: object) -> Artifact:
            return converted(route, made_from or make)

        monkeypatch.setattr("parity.entries.convert", convert or by_make)
        monkeypatch.setattr("parity.calibration.calibration.load_model", lambda *given: make())
        entry = ModelEntry(
            "tiny", "models.py:tiny", {}, tuple(routes), ("photos/*.png",), tolerance or {}, records=records
        )
        return calibrate(Suite(place / "parity.toml", (entry,)), Selection(backends=tuple(backends)), **options)  # type: ignore[arg-type]

    return run


def legs(found: Calibration) -> dict[tuple[str, str], Proposal]:
    return {(leg.route, leg.backend): leg for leg in found.proposals}


def test_every_leg_gets_the_noise_that_concerns_it(calibrated: Calibrated) -> None:
    found = calibrated()

    by_leg = legs(found)
    assert {key: leg.state for key, leg in by_leg.items()} == {
        ("onnx-torchscript", "onnxruntime"): "proposed",
        ("onnx-torchscript", "onnx-reference"): "proposed",
        ("mlprogram", "coreml-native"): "unmeasured",
        ("mlprogram", "coreml-evaluator"): "proposed",
        ("mlprogram-fp32", "coreml-native"): "unmeasured",
        ("mlprogram-fp32", "coreml-evaluator"): "proposed",
    }
    half, single = by_leg["mlprogram", "coreml-evaluator"], by_leg["mlprogram-fp32", "coreml-evaluator"]
    assert set(half.sources) > set(FP16_ONLY)
    assert not set(single.sources) & set(FP16_ONLY)
    assert [name for name in single.sources if ":" in name] == [
        "mlprogram-fp32: coreml-evaluator, repeated",
        "mlprogram-fp32: coreml-evaluator, one thread or several",
    ]
    between = "onnx-torchscript: onnxruntime or onnx-reference"
    assert all(between in by_leg["onnx-torchscript", name].sources for name in HERE[:2])
    assert (half.precision, half.images, found.exit_code) == ("fp16", 6, 0)
    assert "part of macOS" in by_leg["mlprogram", "coreml-native"].reason


def test_a_proposal_is_three_times_the_largest_noise_of_few_images(calibrated: Calibrated) -> None:
    found = calibrated(routes=["mlprogram"], backends=["coreml-evaluator"])

    (leg,) = found.proposals
    (model,) = found.models
    largest = max(noise.largest for noise in model.noises)
    assert leg.decided_by in FP16_ONLY
    assert leg.noise == largest
    assert leg.tolerance is not None
    assert 3 * largest <= leg.tolerance <= 3.3 * largest


def test_the_distance_of_the_artefact_does_not_enter(calibrated: Calibrated) -> None:
    # Artefacts of another model, whose classes stand one place further: they fail parity by far.
    own, other = legs(calibrated()), legs(calibrated(made_from=shifted))

    for key, leg in own.items():
        assert other[key].tolerance == leg.tolerance
        assert other[key].state == leg.state
        if leg.state == "proposed":
            distance, far = leg.distance, other[key].distance
            assert distance is not None
            assert far is not None
            assert distance < 0.01
            assert far > 0.1


def test_what_is_allowed_today_stands_beside_it(calibrated: Calibrated) -> None:
    (leg,) = calibrated(routes=["mlprogram"], backends=["coreml-evaluator"]).proposals
    (given,) = calibrated(
        routes=["mlprogram"], backends=["coreml-evaluator"], tolerance={"mlprogram": Tolerance(0.04)}
    ).proposals

    # On the pictures of the tiny classifier fp16 costs less than the default's floor.
    assert (leg.allowed_today, leg.given) == (1e-2, False)
    assert (given.allowed_today, given.given, given.tolerance) == (0.04, True, leg.tolerance)


class Magnifying(Tiny):
    """Takes away what it adds: fp32 keeps a thousandth beside it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) + 1e4 - 1e4


def magnifying() -> Classifier:
    return Classifier("magnifying", Magnifying().eval(), PREPROCESSING, LABELS)


def test_what_fp32_costs_is_allowed_today(calibrated: Calibrated) -> None:
    allowed = {}
    for make in (tiny, magnifying):
        for leg in calibrated(make, routes=["onnx-torchscript", "mlprogram-fp32"], made_from=tiny).proposals:
            allowed[make.__name__, leg.route] = leg.allowed_today

    assert allowed["tiny", "onnx-torchscript"] == 1e-5
    assert allowed["tiny", "mlprogram-fp32"] == 1e-4
    assert allowed["magnifying", "onnx-torchscript"] == 1e-4  # the cap
    assert 1e-4 < (allowed["magnifying", "mlprogram-fp32"] or 0) <= 1e-3


def test_a_model_that_is_noisy_itself_is_told_so(calibrated: Calibrated) -> None:
    found = calibrated(dropping, made_from=tiny)

    assert found.exit_code == 3
    (model,) = found.models
    assert "PyTorch answers the same image differently when it is asked again" in model.trouble
    assert "dropout left on" in model.trouble
    assert [(leg.route, leg.state, leg.reason) for leg in found.proposals] == [
        (route, "unmeasured", model.trouble) for route in ROUTES
    ]


def test_an_untrained_network_is_no_measure(calibrated: Calibrated) -> None:
    found = calibrated(untrained)

    assert found.exit_code == 3
    assert "about the same for every class of every image" in found.models[0].trouble


def test_a_fault_of_a_runtime_is_no_noise(calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch) -> None:
    from parity.backends import onnxruntime

    load = onnxruntime.load

    def faulty(artifact: Artifact, batch: int = 1, level: str = "ORT_ENABLE_ALL") -> object:
        # Optimised, the graph is another model's.
        wrong = converted("onnx-torchscript", shifted)
        return load(wrong if level == "ORT_ENABLE_EXTENDED" else artifact, batch, level)

    calm = legs(calibrated(routes=["onnx-torchscript"]))
    monkeypatch.setattr(onnxruntime, "load", faulty)
    found = legs(calibrated(routes=["onnx-torchscript"]))["onnx-torchscript", "onnxruntime"]

    name = "onnx-torchscript: onnxruntime, optimisation levels"
    assert "a fault, and no noise" in found.left_out[name]
    before = calm["onnx-torchscript", "onnxruntime"].tolerance
    assert found.tolerance is not None
    assert before is not None
    assert found.tolerance <= before


def test_where_fp16_cannot_be_measured_nothing_is_proposed_for_it(
    calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> None:
        raise RuntimeError("no such mode")

    monkeypatch.setattr("parity.calibration.sources.fp16_answers", fails)
    found = legs(calibrated(routes=["mlprogram", "mlprogram-fp32"], backends=["coreml-evaluator"]))

    assert found["mlprogram", "coreml-evaluator"].state == "unmeasured"
    assert (
        f"{FP16}: cannot be measured: RuntimeError: no such mode" == found["mlprogram", "coreml-evaluator"].reason
    )
    assert found["mlprogram-fp32", "coreml-evaluator"].state == "proposed"


def test_a_network_that_overflows_in_fp16_gets_no_proposal(calibrated: Calibrated) -> None:
    def large() -> Classifier:
        class Large(Tiny):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return (super().forward(image) * 1e6) / 1e6

        return Classifier("large", Large().eval(), PREPROCESSING, LABELS)

    (leg,) = calibrated(large, ["mlprogram"], made_from=tiny, backends=["coreml-evaluator"]).proposals

    assert (leg.state, leg.tolerance, leg.noise) == ("withheld", None, 1.0)


def test_an_artefact_that_cannot_run_has_no_noise(calibrated: Calibrated, tmp_path: Path) -> None:
    gone = replace(converted("onnx-torchscript"), path=tmp_path / "gone.onnx")
    found = calibrated(routes=["onnx-torchscript"], backends=["onnxruntime"])
    broken = calibrated(routes=["onnx-torchscript"], backends=["onnxruntime"], convert=lambda *given: gone)

    assert (found.exit_code, broken.exit_code) == (0, 3)
    assert "ONNX Runtime cannot load it" in broken.proposals[0].reason


def test_a_conversion_that_fails_is_told(calibrated: Calibrated) -> None:
    def fails(*given: object) -> Artifact:
        raise ConversionError("no such operation")

    (leg,) = calibrated(routes=["onnx-torchscript"], convert=fails).proposals

    assert (leg.backend, leg.state, leg.reason) == ("-", "unmeasured", "no such operation")


def test_recorded_answers_have_no_noise_here(calibrated: Calibrated) -> None:
    found = legs(calibrated(routes=["mlprogram-fp32"], records=(Path("phone.json"),)))

    assert (
        found["mlprogram-fp32", "recorded"].reason
        == "its answers were given elsewhere; calibrate where they are made"
    )


def test_images_are_taken_in_the_place_of_the_suites(calibrated: Calibrated, place: Path) -> None:
    found = calibrated(routes=["mlprogram-fp32"], images=[str(place / "photos" / "picture[0-2].png")])

    assert found.models[0].images == ("picture0.png", "picture1.png", "picture2.png")
    assert {leg.images for leg in found.proposals if leg.state == "proposed"} == {3}


def test_more_images_than_are_held_at_once(calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"routes": ["mlprogram"], "backends": ["coreml-evaluator"]}
    whole = calibrated(**options)
    monkeypatch.setattr("parity.calibration.noise.BATCH", 4)
    parts = calibrated(**options)

    by_name = ({noise.name: noise for noise in found.models[0].noises} for found in (whole, parts))
    first, second = by_name
    assert all(first[name] == second[name] for name in (FP16, FP16_WEIGHTS))
    assert all(len(noise.differences) == 6 for noise in second.values())


def test_the_share_of_the_work_grows(calibrated: Calibrated) -> None:
    told: list[tuple[str, float | None]] = []

    calibrated(routes=["mlprogram-fp32"], progress=lambda message, share: told.append((message, share)))

    assert told == [
        ("tiny: PyTorch, image 1 of 6", 0.0),
        ("tiny: converting by mlprogram-fp32", 0.5),
        ("tiny: mlprogram-fp32, image 1 of 6", 0.5),
    ]


def test_a_quantile_is_between_nought_and_one(calibrated: Calibrated) -> None:
    with pytest.raises(ParityError, match="a quantile is a share of the images between 0 and 1, not 1.5"):
        calibrated(quantile=1.5)


def test_json_holds_what_was_measured(calibrated: Calibrated) -> None:
    found = calibrated(routes=["mlprogram"])

    content = json.loads(to_json(found))

    assert content["schema"] == "parity-calibration/1"
    assert (content["quantile"], content["factor"], content["confidence"]) == (0.999, 3.0, 0.95)
    assert (content["images_needed"], content["exit_code"]) == (2995, 0)
    (model,) = content["models"]
    assert model["images"] == [f"picture{index}.png" for index in range(6)]
    assert {len(source["differences"]) for source in model["sources"]} == {6}
    native, evaluator = content["legs"]
    assert (native["state"], native["tolerance"]) == ("unmeasured", None)
    assert evaluator["tolerance"] == found.proposals[1].tolerance
    assert set(evaluator["sources"]) == {source["name"] for source in model["sources"]}
