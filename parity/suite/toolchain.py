"""A tool chain as it is named: requirements on packages, and a Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conversion.errors import ConversionError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# Another torch is gigabytes: unless somebody asks for one by name, the installed one stays.
KEPT = ("torch",)


@dataclass(frozen=True)
class ToolChain:
    """Name converters by their versions.

    packages: requirements (`coremltools==8.3.0`). What they ask for beside that is taken as it is installed, where
        that fits. torch is never taken along, only where it is named: it is gigabytes.
    python: None stands for the running interpreter with everything that is installed beside it; a version (`3.7`)
        for an environment of its own, without torch, where conversions start from an ONNX file.
    """

    name: str
    packages: tuple[str, ...]
    python: str | None = None

    def __post_init__(self) -> None:
        names = {normal(requirement(package).name) for package in self.packages}
        if self.python is not None and names & set(KEPT):
            raise ConversionError(
                f"tool chain {self.name}: with a Python of its own it starts from ONNX and has no torch; "
                "leave one of the two away"
            )

    @property
    def kept(self) -> tuple[str, ...]:
        """List what stays as it is installed, because nobody asked for another by name."""
        names = {normal(requirement(package).name) for package in self.packages}
        return tuple(name for name in KEPT if name not in names)


def normal(name: str) -> str:
    """Return the one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def requirement(text: str) -> Requirement:
    """Parse a requirement; anything else is a ConversionError."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ConversionError(f"`{text}` is no requirement; give one as coremltools==8.3.0") from error
