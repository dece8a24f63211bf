"""Weights of an ML Program, compressed by coremltools.optimize: by the name of a scheme, or by a file of settings.

    read_compression("int4-block32", directory) -> Compression --compress--> a Core ML model

A scheme stands for settings as such a file has them, so both go the same way, and both say what target they need.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion.artifact import operations_of
from conversion.errors import ConversionError
from conversion.files.regular_files import MISSING, why_no_file

_QUANTIZER, _PALETTIZER, _PRUNER = "OpLinearQuantizerConfig", "OpPalettizerConfig", "OpMagnitudePrunerConfig"
# Classes of coremltools.optimize.coreml -> the function that takes them.
_FUNCTIONS: Mapping[str, str] = {
    _QUANTIZER: "linear_quantize_weights",
    _PALETTIZER: "palettize_weights",
    _PRUNER: "prune_weights",
    "OpThresholdPrunerConfig": "prune_weights",
}
_FILES = (".yaml", ".yml", ".json")
_BITS = (1, 2, 3, 4, 6, 8)
# Weights of up to so many numbers coremltools leaves as they are, unless it is told otherwise.
THRESHOLD = 2048
# What Core ML reads from iOS 18 on only: setting -> whether a value of it is that, and its name.
_IOS18: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "dtype": (lambda value: str(value).endswith("int4"), "4-bit integers"),
    "granularity": (lambda value: value in ("per_block", "per_grouped_channel"), "weights by blocks or groups"),
    "nbits": (lambda value: value == 3, "a palette of 3 bits"),
    "cluster_dim": (lambda value: isinstance(value, int) and value > 1, "a palette of vectors"),
    "enable_per_channel_scale": (lambda value: value is True, "a palette with a scale for each channel"),
}


@dataclass(frozen=True)
class Scheme:
    """Describe a family of schemes: how it is written, one of them, and the settings that it stands for.

    settings: from what the parts of the pattern matched; None where a number in it is out of its range.
    nearest: the scheme of this family that was meant, by the same parts.
    """

    form: str
    example: str
    about: str
    pattern: re.Pattern[str]
    settings: Callable[..., Mapping[str, Any] | None]
    nearest: Callable[..., str]


def _integers(bits: str, block: str | None = None) -> Mapping[str, Any] | None:
    if int(bits) not in (4, 8) or (block and not int(block)):
        return None
    blocks = {"granularity": "per_block", "block_size": int(block)} if block else {}
    return _configuration(_QUANTIZER, {"mode": "linear_symmetric", "dtype": f"int{int(bits)}", **blocks})


def _nearest_integers(bits: str, block: str | None = None) -> str:
    name = "int4" if int(bits) < 6 else "int8"
    return f"{name}-block{max(1, int(block))}" if block else name


def _palette(bits: str) -> Mapping[str, Any] | None:
    return _configuration(_PALETTIZER, {"mode": "kmeans", "nbits": int(bits)}) if int(bits) in _BITS else None


def _nearest_palette(bits: str) -> str:
    return f"palettize-{min(_BITS, key=lambda known: abs(known - int(bits)))}bit"


def _pruned(percent: str) -> Mapping[str, Any] | None:
    share = float(percent) / 100
    return _configuration(_PRUNER, {"target_sparsity": share}) if 0 < share < 1 else None


def _nearest_pruned(percent: str) -> str:
    return "prune-1" if float(percent) < 1 else "prune-99"


def _configuration(kind: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"config_type": kind, "global_config": settings}


SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        "int8, int4",
        "int8",
        "integers, a scale for each channel; int4 from iOS18 on",
        re.compile(r"int(\d+)"),
        _integers,
        _nearest_integers,
    ),
    Scheme(
        "int8-blockN, int4-blockN",
        "int4-block32",
        "integers, a scale for each block of N weights, from iOS18 on",
        re.compile(r"int(\d+)-block(\d+)"),
        _integers,
        _nearest_integers,
    ),
    Scheme(
        f"palettize-Nbit with N of {', '.join(map(str, _BITS))}",
        "palettize-6bit",
        "a palette of 2^N values; 3 bits from iOS18 on",
        re.compile(r"palettize-(\d+)bit"),
        _palette,
        _nearest_palette,
    ),
    Scheme(
        "prune-N of 0 < N < 100",
        "prune-50",
        "the smallest N % of the weights are zero",
        re.compile(r"prune-(\d+(?:\.\d+)?)"),
        _pruned,
        _nearest_pruned,
    ),
)


@dataclass(frozen=True)
class Compression:
    """Hold how weights are compressed.

    text: as it was asked for. settings: what OptimizationConfig.from_dict of coremltools takes. digest: of the
    file that they were read from; empty for a scheme.
    """

    text: str
    settings: Mapping[str, Any]
    digest: str = ""

    @property
    def needs(self) -> tuple[str, str]:
        """Return the first target that can hold such weights, and what makes it that one."""
        for setting, value in _settings(self.settings):
            is_new, name = _IOS18.get(setting, (lambda _: False, ""))
            if is_new(value):
                return "iOS18", name
        return "iOS16", "compressed weights"


def read_compression(text: str, directory: Path = Path()) -> Compression:
    """Read a scheme, or a file of settings relative to a directory; raises ConversionError for anything else."""
    if names_file(text):
        return _read_file(text, directory / text)
    if problem := tell_unknown_scheme(text):
        raise ConversionError(problem)
    scheme, parts = next(_matches(text))
    return Compression(text, scheme.settings(*parts) or {})


def names_file(text: str) -> bool:
    """Say whether a text names a file of settings, not a scheme."""
    return Path(text).suffix.lower() in _FILES


def tell_unknown_scheme(text: str) -> str:
    """Say what is wrong with the name of a scheme, and which there are; empty where it is one."""
    near = ""
    for scheme, parts in _matches(text):
        if scheme.settings(*parts):
            return ""
        near = scheme.nearest(*parts)
    near = near or next(iter(difflib.get_close_matches(text.lower(), _examples(), n=1, cutoff=0.5)), "")
    meant = f"; did you mean {near}?" if near else ""
    forms = "; ".join(scheme.form for scheme in SCHEMES)
    return (
        f"unknown compression `{text}`{meant} (there are: {forms}; or a file of coremltools.optimize settings, "
        f"{', '.join(_FILES)})"
    )


def _matches(text: str) -> Iterator[tuple[Scheme, tuple[str, ...]]]:
    for scheme in SCHEMES:
        if match := scheme.pattern.fullmatch(text):
            yield scheme, match.groups()


def _examples() -> list[str]:
    integers = [f"int{bits}{block}" for bits in (8, 4) for block in ("", "-block32")]
    return [*integers, *(f"palettize-{bits}bit" for bits in (4, *_BITS)), "prune-50"]


def _read_file(text: str, path: Path) -> Compression:
    yaml = importlib.import_module("yaml")
    if why := why_no_file(path):
        what = "no such file" if why == MISSING else why
        raise ConversionError(f"{path}: {what}; it is to hold settings of coremltools.optimize")
    content = path.read_bytes()
    try:
        settings = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise ConversionError(f"{path}: neither YAML nor JSON can be read there: {said}") from error
    if not isinstance(settings, Mapping) or not isinstance(settings.get("config_type"), str):
        raise ConversionError(
            f"{path}: holds no settings of coremltools.optimize, a table with `config_type` "
            f"({', '.join(_FUNCTIONS)}) and `global_config`"
        )
    for setting, kind in _settings(settings):
        if setting == "config_type" and kind not in _FUNCTIONS:
            near = difflib.get_close_matches(str(kind), _FUNCTIONS, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ConversionError(
                f"{path}: unknown config_type `{kind}`{meant} (there are: {', '.join(_FUNCTIONS)})"
            )
    compression = Compression(text, settings, hashlib.sha256(content).hexdigest())
    if len(_functions(compression)) > 1:
        raise ConversionError(
            f"{path}: mixes {' and '.join(sorted(_functions(compression)))} of coremltools, each of which goes "
            "through the whole model; give settings of one of them"
        )
    return compression


def _settings(table: Any) -> Iterator[tuple[str, Any]]:
    """List all settings of a nested table."""
    for name, value in table.items() if isinstance(table, Mapping) else ():
        if isinstance(value, Mapping):
            yield from _settings(value)
        else:
            yield str(name), value


def _functions(compression: Compression) -> set[str]:
    kinds = [value for setting, value in _settings(compression.settings) if setting == "config_type"]
    return {_FUNCTIONS[kind] for kind in kinds}


def compress(ct: Any, model: Any, compression: Compression) -> Any:
    """Compress the weights of a Core ML model; raises ConversionError where coremltools cannot, or does nothing."""
    (function,) = _functions(compression)
    try:
        optimize = importlib.import_module("coremltools.optimize.coreml")
        # It takes the settings apart.
        settings = optimize.OptimizationConfig.from_dict(copy.deepcopy(dict(compression.settings)))
        compressed = getattr(optimize, function)(model, settings)
    except Exception as error:
        said = "; ".join(dict.fromkeys(_messages(error)))
        raise ConversionError(
            f"weights = {compression.text!r}: coremltools {ct.__version__} cannot do that: {said}"
        ) from error
    if not any(operation.type.startswith("constexpr_") for operation in operations_of(compressed.get_spec())):
        raise ConversionError(
            f"weights = {compression.text!r} compresses nothing here: coremltools leaves weights of up to "
            f"{THRESHOLD} numbers as they are, which `weight_threshold` in a file of settings changes, and layers "
            "that the blocks do not divide"
        )
    return compressed


def _messages(error: BaseException) -> Iterator[str]:
    """Tell an error by its causes: a settings class says of itself only that something in it is wrong."""
    inner = getattr(error, "exceptions", ())
    for cause in inner:
        yield from _messages(cause)
    if not inner:
        yield " ".join(str(error).split()) or type(error).__name__
