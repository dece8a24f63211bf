"""The exporter that gives two convolutions one bias: onnxscript 0.5.6, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion import Artifact
from parity.backends.reference import Reference, make_reference
from parity.diagnosis.locate import divergences
from parity.diagnosis.weights import audit_weights
from parity.pipeline import judge_artifact
from parity.suite.images import load_images
from parity.suite.models import load_classifier
from parity.versions.toolchains import Session, Source, ToolChain, ToolChainFailure, convert_in, prepare, why_not

FIXTURES = Path(__file__).parents[3] / "fixtures"
MODEL = {"factory": "models.py:resnet18", "arguments": {}, "name": "resnet18"}
CHAIN = ToolChain("onnxscript==0.5.6", ("onnxscript==0.5.6",))
# Its environment is built once, by one of pytest-xdist's workers.
pytestmark = pytest.mark.xdist_group("onnxscript 0.5.6")
# The first convolution of every block that makes its input narrower: it and the short cut read one tensor.
NARROWER = ["layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"]


@pytest.fixture(scope="module")
def corrupt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reference, Artifact]:
    """Convert a ResNet-18 with it, or skip with the reason."""
    if reason := why_not(CHAIN):
        pytest.skip(reason)
    home, upgrade = tmp_path_factory.mktemp("artifacts"), FIXTURES / "upgrade"
    built = prepare(CHAIN, home / "toolchains")
    if isinstance(built, ToolChainFailure):
        pytest.skip(f"the package index cannot be reached, or has no {CHAIN.name}: {built}")
    resnet = load_classifier("models.py:resnet18", {}, "resnet18", upgrade)
    source = Source("parity.versions.toolchain_side:make_classifier", {**MODEL, "directory": str(upgrade)})
    with Session(built) as session:
        artifact = convert_in(session, resnet, source, "onnx", home)
    assert isinstance(artifact, Artifact)
    photos = sorted((FIXTURES / "images" / "photos").glob("*.jpg"))[:2]
    return make_reference(resnet, load_images(photos, resnet.preprocessing)), artifact


def test_it_is_found_where_it_is(corrupt: tuple[Reference, Artifact]) -> None:
    all_located = divergences(*corrupt)

    assert [(one.type, one.module, one.kind) for one in all_located] == [
        ("Conv", module, "per-channel offset") for module in NARROWER
    ]


def test_it_is_found_in_the_weights(corrupt: tuple[Reference, Artifact]) -> None:
    wrong = audit_weights(corrupt[0].classifier, corrupt[1]).findings

    assert [(one.kind, one.module, one.place) for one in wrong] == [
        ("shared by mistake", module, "input[2]") for module in NARROWER
    ]
    assert all(f"is that of `{one.module[:-5]}downsample.0`" in one.message for one in wrong)


def test_it_is_named_with_the_release_that_mends_it(corrupt: tuple[Reference, Artifact]) -> None:
    reference, artifact = corrupt
    (leg,) = judge_artifact(reference, artifact, ["onnxruntime"], explain=True)

    assert [(cause.fault, cause.confirmed) for cause in leg.subject.diagnoses] == [
        ("wt-initializer-collision", True)
    ]
    assert "onnxscript 0.5.6 gives two convolutions" in leg.subject.diagnoses[0].message
    assert "upgrade to 0.5.7" in leg.subject.diagnoses[0].message
