"""The faults that are put into a file that was right: by edits that know nothing of how faults are found."""

from __future__ import annotations

import numpy as np

from tests.faults import onnx_edits as edits
from tests.faults.catalogue import ONNX, Fault
from tests.faults.deploying import recipe


def _fault(name: str, cause: str, edit: edits.Edit) -> Fault:
    return Fault(f"file: {name}", (cause,), lambda c, f: recipe(c), ONNX, edit=edits.on_file(edit))


def _rolled(count: int) -> np.ndarray:
    return np.roll(np.arange(count), 1)


def _two_exchanged(count: int) -> np.ndarray:
    return np.array([1, 0, *range(2, count)])


FILE_FAULTS: tuple[Fault, ...] = (
    _fault("softmax removed", "head-softmax-missing", edits.removed(("Softmax",), 1.0)),
    _fault("softmax appended", "head-softmax-twice", edits.repeated_softmax),
    _fault("softmax over the batch", "head-softmax-axis", edits.attribute(("Softmax",), 1.0, axis=0)),
    _fault("sigmoid for softmax", "head-sigmoid", edits.replaced_by(("Softmax",), "Sigmoid", 1.0)),
    _fault("first kernel for BGR", "pre-bgr-swap", edits.for_bgr),
    _fault(
        "colours gathered backwards",
        "pre-bgr-swap",
        edits.behind_image("Gather", np.array([2, 1, 0], np.int64), axis=1),
    ),
    _fault("255 times too large", "pre-range-0-1-vs-0-255", edits.behind_image("Mul", np.array(255, np.float32))),
    _fault("divided by 255 twice", "pre-range-0-1-vs-0-255", edits.behind_image("Div", np.array(255, np.float32))),
    _fault(
        "an offset per channel",
        "pre-bias-formula",
        edits.behind_image("Add", np.array([10, 0, -10], np.float32).reshape(1, 3, 1, 1)),
    ),
    _fault("image mirrored", "pre-exif-orientation", edits.flipped_image),
    _fault("image transposed", "pre-exif-orientation", edits.behind_image("Transpose", perm=[0, 1, 3, 2])),
    _fault("head's rows rolled", "lab-off-by-one-background", edits.rows_of_head(_rolled)),
    _fault("two of the head's rows exchanged", "lab-order-permuted", edits.rows_of_head(_two_exchanged)),
    _fault(
        "an activation lost",
        "g-activation|g-operation-missing",
        edits.removed(("Relu", "Clip", "HardSwish", "Sigmoid", "Erf", "LeakyRelu", "Elu")),
    ),
    _fault("an activation too many", "g-activation|g-operation-added", edits.added("Relu")),
    _fault("a value halved", "g-scale|g-operation-added|wt-scaled", edits.scaled_value(0.5)),
    _fault(
        "LeakyRelu for Relu",
        "g-activation",
        edits.replaced_by(("Relu",), "LeakyRelu", alpha=0.2),
    ),
    _fault("clipped elsewhere", "g-clip|g-activation", edits.clip_at(1.5)),
    _fault("maximum for average", "g-operation", edits.max_for_average),
    _fault("a residual branch lost", "g-operation-missing|g-operation", edits.branch_lost),
    _fault("concatenated in another order", "g-channel-order", edits.parts_exchanged),
    _fault("first padding at one side", "g-pad-asymmetric", edits.padding_moved(0.0)),
    _fault("a later padding at one side", "g-pad-asymmetric", edits.padding_moved(0.5)),
    _fault(
        "a pool's padding at one side", "g-pad-asymmetric", edits.padding_moved(0.0, ("MaxPool", "AveragePool"))
    ),
    _fault("SAME_UPPER", "g-pad-asymmetric", edits.automatic_padding),
    _fault("dilated", "g-attribute", edits.dilated),
    _fault("feature map transposed", "pre-exif-orientation|g-operation-added", edits.turned_inside),
    _fault("one layer drawn anew", "wt-not-loaded", edits.kernel(edits.drawn_anew)),
    _fault("head drawn anew", "wt-not-loaded", edits.kernel(edits.drawn_anew, 1.0)),
    _fault("output channels shuffled", "wt-permuted", edits.kernel(edits.outputs_shuffled)),
    _fault("input channels shuffled", "wt-permuted", edits.kernel(edits.inputs_shuffled)),
    _fault("kernels transposed", "wt-transposed", edits.kernel(edits.kernel_turned, 0.0)),
    _fault("a layer zeroed", "wt-zeroed", edits.kernel(np.zeros_like)),
    _fault("a layer scaled", "wt-scaled", edits.kernel(lambda array: 1.1 * array)),
    _fault("a layer negated", "wt-scaled", edits.kernel(np.negative)),
    _fault("a layer of 4 bits", "p-weight-quant", edits.kernel(edits.of_bits(4))),
    _fault("all layers of 5 bits", "p-weight-quant", edits.all_kernels(edits.of_bits(5))),
    _fault("a bias shared", "wt-initializer-collision", edits.bias_shared),
    _fault("a bias lost", "wt-bn-fold|wt-not-loaded|wt-zeroed", edits.bias_lost),
    _fault("a bias twice", "wt-bn-fold|wt-scaled", edits.bias_twice),
    _fault("epsilon of a layer norm", "g-norm-eps", edits.attribute(("LayerNormalization",), epsilon=1e-2)),
)
