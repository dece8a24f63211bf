"""What the tests here share: each fails where part of the search for causes breaks."""

from __future__ import annotations

from tests.breaking import nothing_breaks

__all__ = ["nothing_breaks"]
