"""Random numbers that do not depend on which tests ran before, in which worker."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _fresh_random_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(request.module, "_RANDOM"):
        monkeypatch.setattr(request.module, "_RANDOM", np.random.default_rng(0))
