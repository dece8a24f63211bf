"""Where an artefact comes from: written into the file that ships, and read back from it."""

from __future__ import annotations

import hashlib
import inspect
import json
import linecache
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.classifier import Preprocessing
from conversion.errors import ConversionError

if TYPE_CHECKING:
    import torch

    from conversion.classifier import Classifier

# One key in the file's metadata, so that it survives tools that copy metadata and is easy to find in Xcode.
KEY = "coreml-parity"

CONVERTERS = (
    "coreml-parity",
    "torch",
    "torchvision",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxslim",
    "onnx-coreml",
    "coremltools",
    "numpy",
)


@dataclass(frozen=True)
class Provenance:
    """Say what an artefact was made from and by what.

    weights: SHA-256 of the source module's weights, by name (see `weights_hash`).
    labels: class names in the order of the outputs; for ONNX, whose format has none, this is where they stand.
    """

    model: str
    route: str
    weights: str
    options: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def to_json(self) -> str:
        """Write as one JSON text, keys sorted."""
        return json.dumps(
            {
                "model": self.model,
                "route": self.route,
                "weights": self.weights,
                "options": dict(self.options),
                "packages": dict(self.packages),
                "labels": list(self.labels),
                "preprocessing": asdict(self.preprocessing) if self.preprocessing else None,
            },
            sort_keys=True,
            ensure_ascii=False,
        )

    @staticmethod
    def from_json(text: str) -> Provenance | None:
        """Read what `to_json` wrote; None for anything else: a foreign file's metadata is not an error."""
        try:
            content = json.loads(text)
            steps = content["preprocessing"]
            texts = [content["model"], content["route"], content["weights"], *content["labels"]]
            if not all(isinstance(text, str) for text in texts):
                return None
            return Provenance(
                **{
                    **content,
                    "options": dict(content["options"]),
                    "packages": dict(content["packages"]),
                    "labels": tuple(content["labels"]),
                    "preprocessing": Preprocessing(**{k: _tuples(v) for k, v in steps.items()}) if steps else None,
                }
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ConversionError):
            return None


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def package_versions(names: tuple[str, ...] = CONVERTERS) -> dict[str, str]:
    """Return the installed versions of packages, without those that are not installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def weights_hash(classifier: Classifier) -> str:
    """Hash the module's weights: names, types, shapes and bytes, in the order of the names.

    Buffers count that a state_dict leaves out (persistent=False): the converted model contains them.
    """
    module = classifier.module
    weights = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {_tensor(tensor)}\n".encode())
    return digest.hexdigest()


def source_hash(classifier: Classifier) -> str:
    """Hash all that decides the converted model besides weights: structure, settings, code, preprocessing, labels.

    Code counts by the file: those of every class in the module, so that an edited `forward`, or a function beside
    it, is converted anew, and those of this package, which adds normalisation and softmax.
    """
    parts = list(classifier.module.named_modules())
    content = [repr((classifier.name, classifier.preprocessing, classifier.labels)), str(classifier.module)]
    content += [f"{path} {type(part).__qualname__} {_settings(part)}" for path, part in parts]
    files = {file for kind in {type(part) for _, part in parts} for file in _files(kind)}
    content += sorted(map(_lines, files))
    content += [file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.glob("*.py"))]
    # The separator keeps two lists apart whose elements join to the same text.
    return hashlib.sha256(_addresses.sub("", "\0".join(content)).encode(errors="surrogatepass")).hexdigest()


# Where an object happens to lie in memory: another place in every process.
_addresses = re.compile(r" at 0x[0-9a-fA-F]+")


def _settings(part: torch.nn.Module) -> str:
    """Describe what a module's own code stored on it; its repr shows only what `extra_repr` chose to show."""
    import torch

    own = vars(part).keys() - vars(torch.nn.Module()).keys()
    return _describe({name: vars(part)[name] for name in sorted(own)})


def _describe(value: Any) -> str:
    """Write a value the same way in every process; objects without a repr of their own all look alike."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):  # the repr leaves most of the numbers out, numpy's too
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return _describe((str(value.dtype), value.tolist()))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_describe(key)}: {_describe(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_describe, value))}]"
    if isinstance(value, set | frozenset):
        return f"[{', '.join(sorted(map(_describe, value)))}]"
    if isinstance(value, partial):
        return _describe((value.func, value.args, value.keywords))
    if isinstance(value, type):
        return value.__qualname__
    if inspect.isfunction(value):
        code = value.__code__
        return f"{value.__qualname__} {code.co_firstlineno} {_lines(code.co_filename)}"
    return repr(value)


def _tensor(tensor: torch.Tensor) -> str:
    import torch

    array = tensor.detach().cpu().contiguous()
    # As bytes, because numpy has no bfloat16.
    content = array.reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{array.dtype} {tuple(array.shape)} {hashlib.sha256(content).hexdigest()}"


def _files(kind: type[Any]) -> Iterator[str]:
    """Name the files in which a class and those that it inherits from are written.

    By its functions: a module that was executed from a file, or in a notebook, need not be in sys.modules.
    """
    for base in kind.__mro__:
        for member in vars(base).values():
            code = getattr(inspect.unwrap(member) if inspect.isroutine(member) else None, "__code__", None)
            if code is not None:
                yield code.co_filename


def _lines(file: str) -> str:
    linecache.checkcache(file)
    return "".join(linecache.getlines(file))
