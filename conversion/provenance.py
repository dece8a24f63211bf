"""Where an artefact comes from: written into the file that ships, and read back from it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from conversion.classifier import Preprocessing
from conversion.contract import STEPS, Contract, Step, state
from conversion.errors import ConversionError
from conversion.files.json_text import parse_json
from conversion.fingerprint.reach import reach
from conversion.fingerprint.values import ADDRESSES, describe_tensor, file_text

if TYPE_CHECKING:
    from conversion.classifier import Classifier, Model

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
    "coreai-torch",
    "coreai-core",
    "numpy",
)


@dataclass(frozen=True)
class Provenance:
    """Say what an artefact was made from and by what.

    weights: SHA-256 of the source module's weights, by name (see `weights_hash`).
    labels: class names in the order of the outputs; for ONNX, whose format has none, this is where they stand.
    inside: of the steps from pixels to probabilities, those that the file does itself (see conversion.contract).
    """

    model: str
    route: str
    weights: str
    options: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    inside: tuple[Step, ...] = STEPS

    @property
    def contract(self) -> Contract:
        """What the file does itself."""
        return Contract(self.inside)

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
                "inside": list(self.inside),
            },
            sort_keys=True,
            ensure_ascii=False,
        )

    @staticmethod
    def from_json(text: str) -> Provenance | None:
        """Read what `to_json` wrote; None for anything else: a foreign file's metadata is not an error."""
        try:
            content = parse_json(text)
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
                    # Files of before it was written do all of it.
                    "inside": state(content.get("inside", STEPS)).inside,
                    "preprocessing": Preprocessing(**{k: _tuples(v) for k, v in steps.items()}) if steps else None,
                }
            )
        except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError, ConversionError):
            return None


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def package_versions(names: tuple[str, ...] = CONVERTERS) -> dict[str, str]:
    """Return the installed versions of packages, without those that are not installed."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def weights_hash(classifier: Model) -> str:
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
        digest.update(f"{name} {describe_tensor(tensor)}\n".encode())
    return digest.hexdigest()


def code_hash(classifier: Classifier) -> str:
    """Hash all that the module computes with besides its weights, and its preprocessing.

    It runs the module once, so that what forward imports is there. Raises ConversionError where that fails.
    """
    from conversion.fingerprint.probe import probe

    probe(classifier)
    return reach(classifier.module).digest


def source_hash(classifier: Classifier) -> str:
    """Hash all that decides the converted model besides weights: structure, settings, code, preprocessing, labels.

    Code that cannot be followed has another hash every time, so that it is converted anew; see
    conversion.fingerprint.reach.
    """
    reached = reach(classifier.module)
    parts = list(classifier.module.named_modules())
    content = [repr((classifier.name, classifier.preprocessing, classifier.labels)), str(classifier.module)]
    content += [repr(classifier.head)]
    content += [f"{path} {type(part).__qualname__}" for path, part in parts]
    content += [reached.digest, "" if reached.known else uuid4().hex]
    # Also of classes that were installed: somebody may have edited them in place.
    files = {file for kind in {type(part) for _, part in parts} for file in _files(kind)}
    content += sorted(map(file_text, files))
    content += [file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.rglob("*.py"))]
    # The separator keeps two lists apart whose elements join to the same text.
    return hashlib.sha256(ADDRESSES.sub("", "\0".join(content)).encode(errors="surrogatepass")).hexdigest()


def _files(kind: type[Any]) -> Iterator[str]:
    """Name the files in which a class and those that it inherits from are written.

    By its functions: a module that was executed from a file, or in a notebook, need not be in sys.modules.
    """
    for base in kind.__mro__:
        for member in vars(base).values():
            code = getattr(inspect.unwrap(member) if inspect.isroutine(member) else None, "__code__", None)
            if code is not None:
                yield code.co_filename
