"""A model of a suite by a route: what each side of an upgrade is tried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conversion.recipe import Route
    from parity.backends.reference import Reference
    from parity.suite.suite import ModelEntry, Suite


@dataclass(frozen=True)
class SuiteRoute:
    """Name a model of a suite by a route, with what PyTorch answers to its images: what each side is tried on."""

    suite: Suite
    entry: ModelEntry
    reference: Reference
    route: str

    @property
    def recipe(self) -> Route:
        """How the route converts."""
        return self.entry.recipe(self.route)

    @property
    def own_converter(self) -> dict[str, Any]:
        """How another process converts by a route of the suite's own: arguments of `convert_own`."""
        return {"suite": str(self.suite.path.absolute()), "model": self.entry.name, "route": self.route}

    @property
    def factory(self) -> dict[str, Any]:
        """How another process makes the classifier: arguments of `make_classifier`."""
        return {
            "factory": self.entry.factory,
            "arguments": dict(self.entry.arguments),
            "name": self.entry.name,
            "directory": str(self.suite.directory.absolute()),
            **({"head": dict(self.entry.head)} if self.entry.head else {}),
        }
