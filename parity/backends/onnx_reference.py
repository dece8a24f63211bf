"""onnx.reference: ONNX's own evaluator in NumPy; slow, and a third opinion when two runtimes disagree."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.files.model_files import messages
from parity.backends import About, CannotRunError
from parity.backends.onnx_sizes import check_sizes
from parity.core.errors import ParityError
from parity.formats.arrays import classifier_predictions
from parity.formats.onnx.inputs import graph_inputs

if TYPE_CHECKING:
    from onnx.reference.op_run import OpRun

    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("onnx",)
ABOUT = About("onnx", "the ONNX reference evaluator", slow=True)
# What the implementations of single operators say of a setting that they do not have.
_DECLINED = re.compile(r"not (yet )?implemented|(is|are) not supported|only supports", re.IGNORECASE)
# Opsets whose batch norms say by the number of their outputs whether they are in training.
_OLD_BATCH_NORMS = range(7, 14)
# From this opset on a softmax runs over one axis; before, over its axis and all behind it together.
_ONE_AXIS = 13


def why_not() -> str | None:
    """Say why onnx.reference cannot run here."""
    try:
        import onnx.reference  # noqa: F401
    except ImportError as error:
        return f"onnx is not installed ({error}); pip install onnx"
    return None


def load(artifact: Artifact, batch: int = 1) -> Predict:
    """Load a .onnx file."""
    import onnx

    check_sizes(artifact, batch)
    try:
        model = onnx.load(str(artifact.path))
        if foreign := _foreign(model):
            raise CannotRunError(
                f"{artifact.path}: onnx.reference runs ONNX's own operators, and not {', '.join(foreign)}; a file "
                "as it was exported, before any runtime optimised it, has none of these"
            )
        if any(isinstance(message, onnx.SparseTensorProto) for message in messages(model)):
            raise CannotRunError(
                f"{artifact.path}: onnx.reference reads no sparse tensors, which the file holds; onnxruntime does"
            )
        evaluator = evaluator_of(model)
    except CannotRunError:
        raise
    except NotImplementedError as error:
        raise _lacking(artifact, error) from error
    except Exception as error:  # protobuf's, onnx's and NumPy's own
        raise ParityError(f"{artifact.path}: onnx.reference cannot load it: {error}") from error

    def run(output: str, feeds: Mapping[str, np.ndarray]) -> Any:
        try:
            return evaluator.run([output], dict(feeds))[0]
        except (RuntimeError, ValueError) as error:  # NotImplementedError is one of the first
            if not _declines(error):
                raise
            raise _lacking(artifact, error) from error

    outputs = {value.name: _dims(value) for value in model.graph.output}
    return classifier_predictions(artifact, graph_inputs(model), outputs, run, batch)


def _declines(error: Exception) -> bool:
    """Say whether onnx states that it lacks an operator, or a setting of one, the modes of an old opset say."""
    return isinstance(error, NotImplementedError) or (_of_onnx(error) and bool(_DECLINED.search(str(error))))


def _of_onnx(error: Exception) -> bool:
    """Say whether an operator of onnx raised an error itself, and nothing that it called."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return str(module).startswith("onnx.reference.ops.")


def _lacking(artifact: Artifact, error: Exception) -> CannotRunError:
    return CannotRunError(
        f"{artifact.path}: onnx.reference does not implement all of it ({' '.join(str(error).split())})"
    )


def _foreign(model: Any) -> list[str]:
    """List the operators that neither ONNX nor the file itself defines."""
    import onnx

    own = {(function.domain, function.name) for function in model.functions}
    kinds = dict.fromkeys((node.domain, node.op_type) for node in model.graph.node)
    return [
        f"{kind} ({domain})" if domain else kind
        for domain, kind in kinds
        if (domain, kind) not in own and not onnx.defs.has(kind, domain)
    ]


def evaluator_of(model: Any) -> Any:
    """Make onnx's evaluator of a ModelProto, with what it gets wrong put right, and its slowest loop quick."""
    from onnx.reference import ReferenceEvaluator

    _put_in_order(model.graph)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    own = [_convolution()]
    own += [_batch_norm()] if opset in _OLD_BATCH_NORMS else []
    own += list(_over_all_behind()) if opset < _ONE_AXIS else []
    return ReferenceEvaluator(model, new_ops=own)


def _put_in_order(graph: Any) -> None:
    """Put every node behind those that it reads, as ONNX asks; other runtimes take nodes in any order."""
    nodes = list(graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    order = {place: {makers[name] for name in _read(node) if name in makers} for place, node in enumerate(nodes)}
    if any(maker >= place for place, read in order.items() for maker in read):
        places = list(TopologicalSorter(order).static_order())
        del graph.node[:]
        graph.node.extend(nodes[place] for place in places)


def _read(node: Any) -> Iterator[str]:
    """List what a node reads, in its subgraphs too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for other in inner.node:
                yield from _read(other)


def _convolution() -> type[OpRun]:
    """Make onnx's own convolution, whose every window is a view, and not gathered by index: the same bits."""
    from onnx.reference.ops import op_conv

    # A copy of its function that calls ours in the place of im2col, where most of the time goes.
    convolve = FunctionType(op_conv._conv_implementation.__code__, {**vars(op_conv), "im2col": window_columns})

    class Conv(op_conv.Conv):  # type: ignore[misc]
        op_domain = ""

        def _run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, **settings: Any) -> Any:
            if x.ndim < 3:  # which is refused
                return super()._run(x, w, b, **settings)
            return (convolve(x, w, b, **settings).astype(x.dtype),)

    return Conv


def window_columns(
    images: np.ndarray, kernel: Sequence[int], pads: Sequence[int], strides: Sequence[int]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Write the windows of images [N, C, *spatial] as columns: [C * kernel, N * windows], and how many there are.

    pads: zeros before each spatial axis, then behind each.
    """
    rank = len(kernel)
    sides = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    axes = tuple(range(2, 2 + rank))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(images, sides), tuple(kernel), axes)  # type: ignore[call-overload]  # its stubs take one axis alone
    windows = windows[(slice(None), slice(None), *(slice(None, None, step) for step in strides))]
    counts = windows.shape[2 : 2 + rank]
    columns = windows.transpose(1, *range(2 + rank, 2 + 2 * rank), 0, *axes)
    return columns.reshape(images.shape[1] * math.prod(kernel), -1), counts


def _batch_norm() -> type[OpRun]:
    """Make the batch norm of old opsets: one output alone, no training.

    onnx 1.23 takes the statistics of the batch there all the same, and a sound file looks broken.
    """
    from onnx.reference.ops.op_batch_normalization import BatchNormalization_9

    class BatchNormalization(BatchNormalization_9):  # type: ignore[misc]
        op_domain = ""

        def _run(self, *inputs: Any, epsilon: float, momentum: float, **later: Any) -> Any:
            """Run; later: attributes of later opsets, which onnx fills in."""
            in_training = len(self.onnx_node.output) > 1
            return super()._run(*inputs, epsilon=epsilon, momentum=momentum if in_training else None)

    return BatchNormalization


def _over_all_behind() -> Iterator[type[OpRun]]:
    """Make the softmax of old opsets, and its kin; onnx 1.23 runs them over one axis there too."""
    from onnx.reference.op_run import OpRun
    from scipy.special import log_softmax, softmax

    def hardmax(rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.eye(rows.shape[1], dtype=rows.dtype)[rows.argmax(axis=1)])

    def operator(name: str, function: Callable[[np.ndarray], np.ndarray]) -> type[OpRun]:
        def run(self: Any, x: np.ndarray, **_: Any) -> tuple[np.ndarray]:
            # Where the node names none, onnx hands over the axis that later opsets have then.
            axis = next((a.i for a in self.onnx_node.attribute if a.name == "axis"), 1)
            rows = x.reshape(int(np.prod(x.shape[: axis % x.ndim])), -1)
            return (function(rows).reshape(x.shape),)

        return type(name, (OpRun,), {"op_domain": "", "_run": run})

    yield operator("Softmax", lambda rows: np.asarray(softmax(rows, axis=1)))
    yield operator("LogSoftmax", lambda rows: np.asarray(log_softmax(rows, axis=1)))
    yield operator("Hardmax", hardmax)


def _dims(value: Any) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
