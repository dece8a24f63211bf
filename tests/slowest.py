"""Write slow.txt, the functions that `make test` leaves out because they take long: `make slow`.

A junit file of a whole run --seconds of each function, its parameters together--> tests/slow.txt
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

SLOW = Path(__file__).with_name("slow.txt")
# Some 240 of 2,700 functions take longer, on two cores, and two thirds of the time of all of them.
SECONDS = 1.0


def slow(junit: Path) -> list[str]:
    """List functions that took longer, as `path::function`."""
    seconds: Counter[str] = Counter()
    for case in ElementTree.parse(junit).iter("testcase"):
        place, function = case.attrib["classname"].replace(".", "/"), case.attrib["name"].partition("[")[0]
        seconds[f"{place}.py::{function}"] += float(case.attrib["time"])
    return sorted(name for name, took in seconds.items() if took > SECONDS)


if __name__ == "__main__":
    SLOW.write_text("".join(f"{name}\n" for name in slow(Path(sys.argv[1]))), encoding="utf-8")
