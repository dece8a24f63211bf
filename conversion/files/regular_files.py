"""Which paths can be read: regular files, told from everything else by a look at their status, before any opening.

To open a named pipe is to wait for somebody who writes to it, and a device such as /dev/zero has no end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

MISSING = "cannot be read (No such file or directory)"
DIRECTORY = "is a directory, not a file; name a file in it"
_DEVICE = "is not a regular file but a device; give a file"
_KINDS = {
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: "is not a regular file but a pipe; write what comes out of it to a file, and give that",
    stat.S_IFSOCK: "is not a regular file but a socket; give a file",
    stat.S_IFCHR: _DEVICE,
    stat.S_IFBLK: _DEVICE,
}


def why_no_file(path: str | Path) -> str:
    """Say why a path is no regular file, without opening it; empty where it is one. Links are followed."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - once for each of a million images
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except ValueError:
        return "does not exist, for no name can hold the character NUL; correct it"
    except OSError as error:
        return f"cannot be read ({error.strerror}); check the path and its permissions"
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), _DEVICE)
