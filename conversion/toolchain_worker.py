"""What runs inside a tool chain: reads requests from stdin and answers on stdout, a line of JSON each.

A tool chain may have Python 3.7 and none of this package's dependencies, so the file is run by its path, and
imports nothing but the standard library until a request needs more.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Python 3.7 cannot evaluate these, and need not
    from collections.abc import Callable

    Tell = Callable[[dict[str, Any]], None]

_loaded: dict[str, Any] = {}


def versions(tell: Tell) -> dict[str, str]:
    """List the installed distributions, name -> version, as an import would find them."""
    found: dict[str, str] = {}
    for directory in sys.path:
        # Python 3.7 has no importlib.metadata; what it would read stands in the directory's name.
        for entry in sorted(Path(directory).glob("*.dist-info")):
            name, _, version = entry.name[: -len(".dist-info")].rpartition("-")
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


def convert(tell: Tell, source: dict[str, Any], route: str, directory: str, axes: dict[str, Any]) -> dict[str, str]:
    """Make the classifier again and convert it by a route, with the converters of this tool chain."""
    tell({"stage": "load"})
    for remark in importlib.import_module("conversion.toolchain_aliases").install_aliases():
        tell({"remark": remark})
    key = json.dumps(source, sort_keys=True)
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = _called(**source)
    tell({"stage": "convert"})
    artifact = importlib.import_module("conversion").convert(_loaded[key], route, directory, **axes)
    return {"path": str(artifact.path), "weights": artifact.provenance.weights, "remark": artifact.remark}


def call(tell: Tell, function: str, arguments: dict[str, Any]) -> Any:
    """Call `package.module:function` with keyword arguments; its answer must be what JSON can hold."""
    tell({"stage": "run"})
    return _called(function, arguments)


def onnx_coreml(tell: Tell, onnx: str, out: str, options: dict[str, Any]) -> None:
    """Convert an ONNX file with the onnx-coreml of this tool chain; options: onnx_coreml.convert's own."""
    tell({"stage": "convert"})
    model = importlib.import_module("onnx_coreml").convert(onnx, **options)
    importlib.import_module("coremltools").utils.save_spec(model.get_spec(), out)


VERBS: dict[str, Callable[..., Any]] = {
    "versions": versions,
    "convert": convert,
    "call": call,
    "onnx_coreml": onnx_coreml,
}


def main(paths: list[str]) -> None:
    """Answer until stdin ends. paths: what the calling process imports from, for after what is installed here."""
    _extend(paths)
    # What converters print must not mix with the answers, so stdout becomes what stderr is: a log file.
    voice = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # A converter that crashes may have redirected stderr; where it crashed belongs into the log all the same.
    faulthandler.enable(os.fdopen(os.dup(2), "w"))

    def tell(message: dict[str, Any]) -> None:
        voice.write(json.dumps(message) + "\n")
        voice.flush()

    for line in sys.stdin:
        request = json.loads(line)
        try:
            tell({"answer": VERBS[request["verb"]](tell, **request["arguments"])})
        except BaseException as error:  # a converter may call sys.exit
            traceback.print_exc()
            told = "".join(traceback.format_exception_only(type(error), error))
            tell({"failed": told, "importing": raised_while_importing(error)})


def raised_while_importing(error: BaseException | None) -> bool:
    """Say whether an error, or the one that it was raised from, came out of an import: nothing was tried then.

    Whatever its class: packages of different times part with an AttributeError or a TypeError as well.
    """
    while error is not None:
        if isinstance(error, ImportError):
            return True
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            # What is evaluated from text is called <module> too, and stands in no file.
            if code.co_name == "<module>" and code.co_filename == trace.tb_frame.f_globals.get("__file__"):
                return True
            trace = trace.tb_next
        error = error.__cause__
    return False


def _called(function: str, arguments: dict[str, Any]) -> Any:
    importlib.import_module("conversion.coreai").accept_other_versions()
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


def _extend(paths: list[str]) -> None:
    """Order sys.path: the standard library, what this tool chain installed, what the calling process sees."""
    own = [path for path in sys.path if Path(sys.prefix) in Path(path).parents or _is_standard(Path(path))]
    rest = [path for path in [*paths, *sys.path] if path not in own]
    sys.path[:] = [*own, *dict.fromkeys(rest)]


def _is_standard(path: Path) -> bool:
    here = Path(os.__file__).parent
    # A Python without a virtual environment keeps what was installed inside its standard library's directory.
    return path.suffix == ".zip" or path == here or (here in path.parents and path.name == "lib-dynload")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
