"""The tiny classifier, converted once per session and route."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import Artifact, convert
from tests.conversion.classifiers import tiny


@pytest.fixture(scope="session")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conversions")


@pytest.fixture(scope="session")
def converted(conversions: Path) -> Callable[[str], Artifact]:
    """Return what converts the tiny classifier by a route; the second time it is there already."""
    return lambda route: convert(tiny(), route, conversions)
