"""Where classifiers come from, besides the user's own functions: `SCHEME:NAME` names one that a library has."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conversion.classifier import Classifier


@dataclass(frozen=True)
class Source:
    """Say who builds the classifiers of a scheme.

    module, function: imported when the first is built. written: as users write it.
    weights: whether `@WEIGHTS` may follow the name; without, the name is itself a path.
    alone: what stands for weights where nobody names any, and no seed for random ones.
    extra: of this package, with which its library is installed.
    """

    module: str
    function: str
    written: str
    weights: bool = True
    alone: str = ""
    extra: str = ""


SOURCES: Mapping[str, Source] = {
    "torchvision": Source("conversion.sources.torchvision_models", "torchvision_classifier", "torchvision:name"),
    "timm": Source("conversion.sources.timm_models", "timm_classifier", "timm:name", alone="DEFAULT", extra="timm"),
    "transformers": Source(
        *("conversion.sources.transformers_models", "transformers_classifier", "transformers:directory"),
        weights=False,
        extra="transformers",
    ),
}
# The kinds of MODEL besides a name in a suite file, for help and errors.
KINDS = "`file.py:callable`, `package.module:callable`, " + " or ".join(
    ", ".join(f"`{source.written}`" for source in SOURCES.values()).rsplit(", ", 1)
)


def is_named(model: str) -> bool:
    """Say whether MODEL names one of a library's classifiers."""
    scheme, _, name = model.partition(":")
    return scheme in SOURCES and bool(name)


def extra_of(model: str) -> str:
    """Name the extra of this package that a MODEL needs; empty where it needs none."""
    return SOURCES[model.partition(":")[0]].extra if is_named(model) else ""


def named_classifier(model: str, arguments: Mapping[str, Any], directory: Path | None = None) -> Classifier:
    """Build the classifier that `SCHEME:NAME`, or `SCHEME:NAME@WEIGHTS` for short, stands for.

    arguments: of the scheme's function. directory: what files are relative to; None: the working directory.
    Raises ConversionError.
    """
    scheme, _, name = model.partition(":")
    source = SOURCES[scheme]
    build: Callable[..., Classifier] = getattr(importlib.import_module(source.module), source.function)
    if not source.weights:
        return build(_beside(name, directory), **arguments)
    # A command line has no place for arguments.
    name, _, weights = name.partition("@")
    weights = weights or ("" if "seed" in arguments else source.alone)
    keywords = {**({"weights": weights} if weights else {}), **arguments}
    file = keywords.get("weights")
    if directory is not None and isinstance(file, str) and file != "DEFAULT":
        keywords["weights"] = directory / file
    return build(name, **keywords)


def _beside(name: str, directory: Path | None) -> str:
    """Return a directory's path from where it is looked for; a name of the hub, which names none, as it is."""
    path = (directory or Path()) / Path(name).expanduser()
    is_name = name.count("/") <= 1 and not name.startswith((".", "/", "~"))
    return name if is_name and not path.is_dir() else str(path)
