"""Imported by the process that workers are forked from, so that none of them imports it again."""

from __future__ import annotations

import parity.stream.decoding  # noqa: F401
from conversion.guards.torchvision_guard import torchvision

torchvision()
