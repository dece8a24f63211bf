"""Every fault of the catalogue, on networks and in formats: detected, and named."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults.architectures import ARCHITECTURES
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.file_catalogue import FILE_FAULTS
from tests.faults.kinds_catalogue import KINDS
from tests.faults.measuring import Outcome, measure
from tests.faults.without_effect import NO_EFFECT, NO_PLACE

WRITTEN = ("sliced", "attentive", "shuffled")
NETWORKS = tuple(name for name in ARCHITECTURES if name not in ("efficientnet_lite0", "shufflenet_v2", *WRITTEN))
# Files are broken in fewer: each fault in three of these, in turn.
BROKEN = tuple(name for name in ARCHITECTURES if name not in ("efficientnet_lite0", *WRITTEN))
BY_NAME = {fault.name: fault for fault in (*FAULTS, *FILE_FAULTS, *KINDS)}


def _injections() -> list[tuple[str, str, str]]:
    """List fault, network and format: every fault in every network, the formats taking turns, and in all of one.

    Faults of files are in some of the networks, one of which no other fault was tried on; kinds in those that have
    a place for them.
    """
    found: dict[tuple[str, str, str], None] = {}
    # onnx-coreml 1.3 converts neither of these.
    modern = ("plain", "vision_transformer")
    for number, fault in enumerate(FAULTS):
        for place, network in enumerate(NETWORKS):
            found[fault.name, network, fault.formats[(number + place) % len(fault.formats)]] = None
        for format_name in fault.formats:
            found[fault.name, NETWORKS[number % len(NETWORKS)], format_name] = None
    for number, fault in enumerate(FILE_FAULTS):
        for place in range(0, len(BROKEN), 2):
            found[fault.name, BROKEN[(number + place) % len(BROKEN)], fault.formats[0]] = None
    for number, fault in enumerate(KINDS):
        for place, network in enumerate(fault.networks or WRITTEN):
            found[fault.name, network, fault.formats[(number + place) % len(fault.formats)]] = None
    return [one for one in found if one[1] not in modern or one[2] != "neuralnetwork"]


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize(("name", "network", "format_name"), _injections())
def test_a_fault_is_detected_and_named(
    name: str, network: str, format_name: str, directory: Path, request: pytest.FixtureRequest
) -> None:
    fault: Fault = BY_NAME[name]
    found = measure(fault, network, format_name, directory)
    if isinstance(found, str):
        assert network in NO_PLACE.get(name, ()), f"{found}; if that is so, it belongs into NO_PLACE"
        pytest.skip(found)
    assert isinstance(found, Outcome)
    request.node.user_properties.append(("fault_outcome", asdict(found)))
    if not found.effective:
        assert (network, format_name) in NO_EFFECT.get(name, ()), "it changes nothing, and is not in NO_EFFECT"
        pytest.skip(f"changes nothing: a control; {'; '.join(found.told)}")
    assert found.detected, found.told
    assert found.named, "\n".join(found.told)


def test_what_is_expected_without_effect_is_injected() -> None:
    injected = _injections()

    assert all(any(one[:2] == (name, n) for one in injected) for name, its in NO_PLACE.items() for n in its)
    assert all((name, *place) in injected for name, places in NO_EFFECT.items() for place in places)
