"""PyTorch's model with the compressed weights of a file in the place of its own: what else is apart is rounding.

What compression costs is large beside most faults, and hides them. The twin pays that cost too, so a file is held
to it by the tolerance of its precision alone. Only numbers that are PyTorch's own on the file's grid count: other
weights are none of compression's doing, and there is no twin of them.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from conversion.deployed import deployed_module
from parity.backends.reference import Reference, make_reference
from parity.diagnosis.compression import compressed_copy, pair_compressed
from parity.formats import format_of
from parity.formats.compression import INT8_OPERATIONS
from parity.formats.graph import read_graph

if TYPE_CHECKING:
    from conversion import Artifact

LOG = logging.getLogger(__name__)

# What rounds activations to whole numbers, as the twin does not: operations of ONNX and MIL, a setting of layers.
ROUNDING = INT8_OPERATIONS | {"quantize", "int8DynamicQuantize"}


def compressed_twin(reference: Reference, artifact: Artifact) -> Reference | None:
    """Return what PyTorch answers with the compressed weights of a file; None where such a twin proves nothing.

    So it is of a file without compressed weights, with some that are not PyTorch's own on the file's grid or that
    nobody can place, with rounded activations, and of a module that cannot be copied.
    """
    if artifact.path not in reference.twins:
        try:
            reference.twins[artifact.path] = _make_twin(reference, artifact)
        except Exception:  # the module's own, or one of torch: it is copied, recorded and run again
            LOG.info("%s has no twin with compressed weights", artifact.path, exc_info=True)
            reference.twins[artifact.path] = None
    return reference.twins[artifact.path]


def _make_twin(reference: Reference, artifact: Artifact) -> Reference | None:
    model = reference.model
    weights = format_of(artifact).compressed_weights(artifact)
    if not weights or _rounds_activations(artifact):
        return None
    compression = pair_compressed(model, artifact, weights)
    if compression.absurd or compression.unpaired or not all(one.faithful for one in compression.sound):
        return None
    deployed: Any = compressed_copy(deployed_module(model), compression.sound, lambda one: one.array)
    return make_reference(replace(model, module=deployed.module), reference.images)


def _rounds_activations(artifact: Artifact) -> bool:
    return any(one.type in ROUNDING or ROUNDING & set(one.attributes) for one in read_graph(artifact).operations)
