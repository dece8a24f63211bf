"""Names by which today's torch knows parts of its converters, for tool chains whose converters lack them."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterator


def install_aliases() -> Iterator[str]:
    """Put the aliases into sys.modules that this process needs; gives a remark for each."""
    # For each release in which torch changes what it calls, onnxscript adds a module that collects just that:
    # torch_2_9, torch_2_11 and so on. An older onnxscript lacks the one that this torch asks for. The functions in
    # them are the same by name, most of them the same objects, so the newest that is there stands in.
    from torch.onnx._internal import _lazy_import

    wanted: str = getattr(vars(_lazy_import).get("onnxscript_apis"), "_name", "")
    package, _, name = wanted.rpartition(".")
    if not package or importlib.util.find_spec(package) is None or importlib.util.find_spec(wanted) is not None:
        return
    parent = importlib.import_module(package)
    there = [module.name for module in pkgutil.iter_modules(parent.__path__) if module.name.startswith("torch_")]
    if there:
        newest = max(there, key=lambda known: [int(part) for part in re.findall(r"\d+", known)])
        sys.modules[wanted] = importlib.import_module(f"{package}.{newest}")
        yield f"onnxscript has no interface {name}, which this torch asks for; its {newest} stands in"
