"""What must stand at the root: threads, and hypothesis profiles.

HYPOTHESIS_PROFILE: `ci` answers the same every time, `quick` too with fewer examples, `nightly` searches longer.
"""

from __future__ import annotations

import math
import os

from hypothesis import HealthCheck, settings

# What tests the pytest plugin: a pytest inside pytest. Only a conftest.py at the root may ask for it.
pytest_plugins = ["pytester"]

# One OpenMP thread per process, set before torch loads. Each of pytest-xdist's workers would otherwise start one
# per core, and on few cores they then wait for each other in busy loops: the suite takes ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline and no too_slow: both read the clock, and a busy machine must not fail a test.
_CLOCKLESS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)

settings.register_profile("ci", _CLOCKLESS, derandomize=True, database=None, max_examples=50)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=10)
settings.register_profile("nightly", _CLOCKLESS, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure() -> None:
    """Let commands that are called in this process run artefacts in it too, without a limit of time.

    Tests put backends of their own in the place of ours, and a worker takes seconds to start.
    tests/parity/backends/test_limited.py is about the limit.
    """
    from parity.backends import limited

    limited.DEFAULT = limited.TimeLimit(math.inf)
