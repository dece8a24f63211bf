"""The tiny classifier, converted once per session and route."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import Artifact, convert
from conversion.errors import NotInstalledError
from tests.conversion.classifiers import tiny


@pytest.fixture(scope="session")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conversions")


@pytest.fixture(scope="session")
def converted(conversions: Path) -> Callable[[str], Artifact]:
    """Return what converts the tiny classifier by a route; the second time it is there already."""

    def convert_once(route: str) -> Artifact:
        try:
            return convert(tiny(), route, conversions)
        except NotInstalledError as error:  # an extra that was left out
            pytest.skip(str(error))

    return convert_once
