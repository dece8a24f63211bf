"""A side of an upgrade: the installed converters, or a tool chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conversion.provenance import CONVERTERS
from parity.backends import runtimes
from parity.core.errors import ParityError
from parity.suite.toolchain import normal, requirement
from parity.versions.toolchains import TOOLCHAINS, ToolChain

INSTALLED = "installed"


@dataclass(frozen=True)
class Side:
    """Name one side: a tool chain, or what is installed (None)."""

    name: str
    toolchain: ToolChain | None = None

    @property
    def packages(self) -> tuple[str, ...]:
        """List the names of the packages that the tool chain has other versions of."""
        listed = self.toolchain.packages if self.toolchain else ()
        return tuple(normal(requirement(package).name) for package in listed)

    @property
    def converts(self) -> bool:
        """Tell whether conversions take place in the tool chain; those of a mere runtime need not."""
        return self.toolchain is not None and not set(self.packages) <= set(runtimes()) - set(CONVERTERS)

    def runs(self, backend: str) -> bool:
        """Tell whether a backend predicts in the tool chain."""
        return any(runtimes().get(package) == backend for package in self.packages)


def find_side(requested: Sequence[str], named: Mapping[str, ToolChain]) -> Side:
    """Make a side of what a user wrote: `installed`, a tool chain's name, or requirements (`onnx==1.17.0`).

    named: the suite's tool chains; those of TOOLCHAINS are known without it.
    """
    known = {**TOOLCHAINS, **named}
    if list(requested) == [INSTALLED]:
        return Side(INSTALLED)
    for name in requested:
        if name in known and len(requested) == 1:
            return Side(name, known[name])
        if name in known or name == INSTALLED:
            raise ParityError(f"{' and '.join(requested)}: {name} is a whole tool chain; give it alone")
        if not any(sign in name for sign in "=<>~"):
            raise ParityError(
                f"{name}: neither PACKAGE==VERSION nor a tool chain (tool chains: {', '.join(known)}, {INSTALLED})"
            )
    name = " ".join(sorted(requested))
    return Side(name, ToolChain(name, tuple(requested)))
