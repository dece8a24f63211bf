"""What `parity` raises. Every message says what was asked, what is there, where, what is allowed, how to fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ParityError(Exception):
    """Bad input or configuration: one clear line for the user, exit code 2."""


class CoreMLError(ParityError):
    """A Core ML file cannot be read, planned or run."""

    def __init__(self, message: str) -> None:
        # Names come from the file: a damaged one holds line ends, and bytes that a terminal would obey.
        super().__init__("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in message))


class UnsupportedOperationsError(CoreMLError):
    """The model needs operations that the evaluator lacks; all of them are named at once.

    missing: operation type -> names of the operations of that type in the file.
    """

    def __init__(self, path: str, missing: Mapping[str, Sequence[str]]) -> None:
        self.missing = {kind: tuple(names) for kind, names in missing.items()}
        listed = ", ".join(f"{kind} ({_some(names)})" for kind, names in sorted(self.missing.items()))
        super().__init__(
            f"{path}: the evaluator lacks {len(self.missing)} operation(s) that this model needs: {listed}; "
            "convert for an earlier deployment target, or add them as CONTRIBUTING.md shows"
        )


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
