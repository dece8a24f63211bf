"""`make bench`: every measurement of speed and memory, one after the other; docs/bench.md keeps what they print.

Ends with 1 where one of them is beyond its aim.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "bench.md"
# Each ends with 1 where it is beyond its aim.
MEASUREMENTS = ("bench.py", "stream.py")
BEFORE = """\
# The last run of `make bench`

Figures of one machine in one run: read the ratios. [Benchmarks](guides/benchmarks.md) says what they mean.

```text
"""


def main() -> int:
    """Measure, show each line as it comes, and keep all."""
    lines: list[str] = []
    codes = []
    for name in MEASUREMENTS:
        with subprocess.Popen([sys.executable, str(HERE / name)], stdout=subprocess.PIPE, text=True) as process:
            lines += shown(process)
        codes.append(process.returncode)
    TABLE.write_text(f"{BEFORE}{''.join(lines)}```\n", encoding="utf-8")
    return max(codes)


def shown(process: subprocess.Popen[str]) -> Iterator[str]:
    """Give the lines that a process prints, and print them."""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        yield line


if __name__ == "__main__":
    sys.exit(main())
