"""Where an artefact comes from: written into the file that ships, and read back from it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from conversion.classifier import Preprocessing
from conversion.errors import ConversionError

if TYPE_CHECKING:
    from conversion.classifier import Classifier

# One key in the file's metadata, so that it survives tools that copy metadata and is easy to find in Xcode.
KEY = "coreml-parity"

CONVERTERS = ("torch", "torchvision", "onnx", "onnxscript", "onnxslim", "onnx-coreml", "coremltools", "numpy")


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
            return Provenance(
                **{
                    **content,
                    "labels": tuple(content["labels"]),
                    "preprocessing": Preprocessing(**{k: _tuples(v) for k, v in steps.items()}) if steps else None,
                }
            )
        except (ValueError, TypeError, KeyError, AttributeError, ConversionError):
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
    """Hash the module's weights: names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(classifier.module.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()


def source_hash(classifier: Classifier) -> str:
    """Hash all that decides the converted model besides weights: structure, code, preprocessing, labels, input.

    The code of every class in the module counts, so that an edited `forward` is converted anew.
    """
    digest = hashlib.sha256(repr((classifier.name, classifier.preprocessing, classifier.labels)).encode())
    digest.update(str(classifier.module).encode())
    for kind in sorted({type(part) for part in classifier.module.modules()}, key=lambda k: k.__qualname__):
        digest.update(f"{kind.__module__}.{kind.__qualname__}\n{_source(kind)}".encode())
    return digest.hexdigest()


def _source(kind: type[Any]) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""  # defined in an interactive session: name and structure are all there is
