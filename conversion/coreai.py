"""PyTorch -> Core AI (.aimodel) with coreai-torch; and what an asset says of itself, read in a process of its own.

    python -m conversion.coreai ASSET      what `described` asks for: JSON

Core AI's reader aborts the process on some damaged programs instead of raising, so nothing reads a program here
before another process has survived it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.coreai_description import Described, from_content, read_note, write_note
from conversion.deployed import deployed_module, example_pixels, without_mha_fastpath
from conversion.errors import ConversionError, NotInstalledError
from conversion.provenance import KEY, package_versions
from conversion.respellings import for_coreai

if TYPE_CHECKING:
    from conversion.artifact import Precision
    from conversion.classifier import Classifier
    from conversion.provenance import Provenance
    from conversion.shapes import OpenAxes

INPUT = "image"
FUNCTION = "main"
# Where an app looks for the names of the classes; the provenance has them too.
LABELS = "labels"
INSTALL = "pip install 'coreml-parity[coreai]'"
# The runtime is a beta, and its interface changes: with other versions nothing is claimed.
TESTED: Mapping[str, str] = {"coreai-torch": "0.4.3", "coreai-core": "1.0.0b3"}
RUNTIME = ("coreai-core",)
PROGRAM, HASH, METADATA = "main.mlirb", "main.hash", "metadata.json"
# Of the directory itself, as coreai-core writes it.
ASSET_VERSION = "2.0"
COPY = "copy the whole .aimodel directory, or convert again"
_SECONDS = 600.0
# By their names in conversion.routes.
ROUTES = ("coreai", "coreai-fp16")


_accepted: set[str] = set()


def accept_other_versions() -> None:
    """Let this process take versions that nobody tested: a tool chain is asked for just these."""
    _accepted.update(TESTED)


def why_not(packages: tuple[str, ...] = tuple(TESTED)) -> str | None:
    """Say why Core AI's packages cannot be used here, and what installs them; None where they can."""
    here = package_versions(packages)
    if absent := [name for name in packages if name not in here]:
        return f"{' and '.join(absent)} not installed; {INSTALL}"
    for name, version in here.items():
        if version != TESTED[name] and name not in _accepted:
            return f"{name} {version} is installed, and {TESTED[name]} is what was tested; {INSTALL}"
    return None


def convert_coreai(
    classifier: Classifier, path: Path, provenance: Provenance, opened: OpenAxes, precision: Precision
) -> None:
    """Convert with coreai-torch: an array `image` [N, C, H, W] of pixels 0..255 in, the task's output out, in fp32.

    In fp16 all between the two is fp16: weights, pixels and every result. Batch norms keep their numbers in fp32
    until the converter has folded them. N is 1 unless it is open.
    """
    if reason := why_not():
        raise NotInstalledError(f"the route {provenance.route} cannot convert here: {reason}")
    import coreai_torch
    import torch
    from coreai.runtime import AIModelAssetMetadata

    # Two images, so that the open batch is not taken for the constant 1.
    example = example_pixels(classifier, batch=2 if opened.batch else 1)
    axes = _axes(opened)
    module = _typed(deployed_module(classifier), precision)
    with without_mha_fastpath(), torch.no_grad():
        with for_coreai():
            program = torch.export.export(module, (example,), dynamic_shapes=(axes,) if axes else None)
        program = program.run_decompositions(coreai_torch.get_decomp_table())
    # The other mode writes stack traces with this machine's paths into what ships.
    converter = coreai_torch.TorchConverter(mode=coreai_torch.TorchConverter.Mode.RELEASE)
    converter.add_exported_program(program, input_names=[INPUT], output_names=[classifier.task.outputs[0].name])
    metadata = AIModelAssetMetadata()
    metadata.set_custom(KEY, provenance.to_json())
    metadata.set_custom(LABELS, list(classifier.labels))
    converter.to_coreai().save_asset(path, metadata=metadata)
    with suppress(ConversionError):  # whoever opens the asset is told
        write_note(path, described(path), (path / HASH).read_bytes(), package_versions(RUNTIME)["coreai-core"])


def _typed(module: Any, precision: Precision) -> Any:
    """Let a module compute in fp16 between an input and an output of fp32."""
    import torch

    if precision == "fp32":
        return module

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.half_module = copy.deepcopy(module).half()
            for part in self.half_module.modules():
                # In fp16 a small variance loses most of its digits, and a large one is infinite.
                if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                    part.float()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.half_module(image.half()).float()
            return answer

    return Half().eval()


def _axes(opened: OpenAxes) -> dict[int, Any]:
    """Name the axes that stay open, within bounds: Core AI has no lists of sizes, which the provenance keeps."""
    import torch

    heights, widths = zip(*opened.sizes, strict=True) if opened.sizes else ((), ())
    ends = {0: opened.batch, 2: opened.height or heights, 3: opened.width or widths}
    names = {0: "batch", 2: "height", 3: "width"}
    return {axis: torch.export.Dim(names[axis], min=min(e), max=max(e)) for axis, e in ends.items() if e}


def metadata_of(path: Path) -> Mapping[str, Any]:
    """Read what whoever made an asset wrote into it; checks that all parts are there and belong together.

    Needs none of Core AI's packages. Raises ConversionError.
    """
    for name in (METADATA, PROGRAM, HASH):
        if not (path / name).is_file():
            raise ConversionError(f"{path}: {name} is missing; {COPY}")
    try:
        content = json.loads((path / METADATA).read_text(encoding="utf-8"))
        version, custom = content["assetVersion"], content.get("creatorDefinedMetadata", {})
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConversionError(f"{path}: {METADATA} is damaged ({error}); {COPY}") from error
    if version != ASSET_VERSION:
        raise ConversionError(
            f"{path}: an asset of version {version!r}, and {ASSET_VERSION} is the one that is read; convert again "
            f"with coreai-core {TESTED['coreai-core']}"
        )
    with (path / PROGRAM).open("rb") as file:
        if hashlib.file_digest(file, "sha256").digest() != (path / HASH).read_bytes():
            raise ConversionError(f"{path}: {PROGRAM} is not what {HASH} says, it is cut off or altered; {COPY}")
    return custom if isinstance(custom, dict) else {}


def described(path: Path) -> Described:
    """Return what an asset says of itself: what is noted of it, or read once for each state of its files.

    Raises ConversionError.
    """
    metadata_of(path)
    program = path / PROGRAM
    return _described(path, os.path.abspath(path), program.stat().st_mtime_ns, (path / HASH).read_bytes())  # noqa: PTH100


@lru_cache(maxsize=64)
def _described(path: Path, absolute: str, changed: int, digest: bytes) -> Described:
    if reason := why_not(RUNTIME):
        raise NotInstalledError(f"{path}: Core AI files cannot be read here: {reason}")
    version = package_versions(RUNTIME)["coreai-core"]
    if noted := read_note(path, digest, version):
        return noted
    paths = os.pathsep.join(os.path.abspath(one) for one in sys.path)  # noqa: PTH100  "" is here
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "conversion.coreai", str(path)],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
        content = json.loads(done.stdout.rpartition("\n")[2]) if done.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise ConversionError(f"{path}: Core AI's reader does not end with it ({error}); {COPY}") from error
    if not content:
        how = f"it died of signal {-done.returncode}" if done.returncode < 0 else "it failed"
        raise ConversionError(f"{path}: not a program that Core AI's reader takes: {how}; {COPY}")
    if "interface" in content:
        # From an ImportError: a tool chain counts as one that could not be tried.
        raise NotInstalledError(
            f"{path}: coreai-core {version} has another interface than {TESTED['coreai-core']}, by which files are "
            f"read here ({content['interface']})"
        ) from ImportError(content["interface"])
    if "error" in content:
        raise ConversionError(f"{path}: not a program that Core AI's reader takes ({content['error']}); {COPY}")
    return from_content(content)


def _describe(path: Path) -> dict[str, Any]:
    """Read a program, check it, and compile it as the runtime does before it runs."""
    from coreai.authoring import AIModelAsset

    asset = AIModelAsset.load(path)
    summary = asset.summary(include_statistics=False)
    names = list(summary.function_names) if summary else []
    if FUNCTION not in names:
        raise ValueError(f"it has no function {FUNCTION}; its functions are {', '.join(names) or 'none'}")
    module = asset.program._module
    module.verify()
    # Beside the function there may be others, of what is composed, a pool say.
    graphs = (one for one in module._body.operations if one.operation.name == "coreai.graph")
    graph = next(one for one in graphs if one.sym_name.value == FUNCTION)
    with tempfile.TemporaryDirectory(suffix=".aimodelx") as directory:
        asset._write_odix(Path(directory))
    kinds = [
        str(result.type.element_type)
        for operation in graph.bodyRegion.blocks[0].operations
        if operation.operation.name not in ("coreai.constant", "coreai.cast")
        for result in operation.operation.results
        if hasattr(result.type, "element_type")
    ]
    return {
        "inputs": list(_features(graph.arg_attrs, graph.type.inputs)),
        "outputs": list(_features(graph.res_attrs, graph.type.results)),
        "precision": "fp16" if "f16" in kinds else "fp32",
    }


def _features(attributes: Any, types: Any) -> Any:
    for place, (named, kind) in enumerate(zip(attributes, types, strict=True)):
        name = named["coreai.name"].value if "coreai.name" in named else f"value {place}"
        sizes = [None if kind.is_dynamic_dim(axis) else kind.get_dim_size(axis) for axis in range(kind.rank)]
        yield {"name": name, "dtype": numpy_name(str(kind.element_type)), "shape": sizes}


def numpy_name(kind: str) -> str:
    """Name an element type of MLIR as NumPy does: f16 -> float16, si32 -> int32, ui8 -> uint8, i1 -> bool."""
    if kind == "i1":
        return "bool"
    for short, long in (("bf", "bfloat"), ("f", "float"), ("si", "int"), ("ui", "uint"), ("i", "int")):
        if kind.removeprefix(short).isdigit():
            return long + kind.removeprefix(short)
    return kind


if __name__ == "__main__":
    try:
        told = _describe(Path(sys.argv[1]))
    except Exception as error:  # the reader's own classes
        # A tool chain may have another version, which lacks what is asked for here.
        other = package_versions(RUNTIME) != {name: TESTED[name] for name in RUNTIME}
        kind = "interface" if other and isinstance(error, AttributeError | ImportError) else "error"
        told = {kind: " ".join(str(error).split())[:300] or type(error).__name__}
    # What the reader itself prints comes before.
    print(f"\n{json.dumps(told)}", end="")
