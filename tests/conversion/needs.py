"""What a test cannot do without, and may do without where an extra is left out."""

from __future__ import annotations

import pytest

from conversion.coreai import why_not

needs_coreai = pytest.mark.skipif(bool(why_not()), reason=f"Core AI: {why_not()}")
