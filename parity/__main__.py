"""Where the command `parity` starts: Ctrl-C ends it in one line from here on, also while it imports."""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command with the arguments of the process."""
    if callable(signal.getsignal(signal.SIGINT)):  # else it was started not to be interrupted
        signal.signal(signal.SIGINT, _end)
    from parity import cli

    cli.main()


def _end(number: int, frame: FrameType | None) -> None:
    """End at once: nothing was begun that would have to be cleared up."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
