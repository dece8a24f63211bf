"""One tool chain that is not a stand-in: uv, the package index and another version of a converter."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from parity.suite.suite import read_suite
from parity.versions.side import Side
from parity.versions.toolchains import ToolChain, ToolChainFailure, prepare, why_not
from parity.versions.upgrade import upgrade
from tests.parity import tiny
from tests.parity.tiny import save_pictures

# One file, no dependencies, and the route onnx goes through it.
CHAIN = ToolChain("onnxscript==0.6.0", ("onnxscript==0.6.0",))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the environment, or skip with the reason."""
    if reason := why_not(CHAIN):
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("artifacts")
    built = prepare(CHAIN, home / "toolchains")
    if isinstance(built, ToolChainFailure):
        pytest.skip(f"the package index cannot be reached, or has no {CHAIN.name}: {built}")
    return home


def test_another_onnxscript_converts_the_same_model(artifacts: Path, tmp_path: Path) -> None:
    shutil.copy(tiny.__file__, tmp_path / "models.py")
    save_pictures(tmp_path / "photos")
    (tmp_path / "parity.toml").write_text(
        'images = ["photos/*.png"]\n[models.tiny]\nfactory = "models.py:tiny"\nroutes = ["onnx"]\n'
    )

    found = upgrade(
        read_suite(tmp_path / "parity.toml"), Side(CHAIN.name, CHAIN), Side("installed"), artifacts=artifacts
    )

    (leg,) = found.legs
    assert (leg.verdict, leg.said) == ("same", ())
    assert found.packages[CHAIN.name] == {"onnxscript": "0.6.0"}
    assert leg.old.verdict == leg.new.verdict == "pass"
