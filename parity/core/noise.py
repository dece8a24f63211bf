"""Every constant that says what is noise: where it is from, and why it is just so large.

What is below one of these is rounding, or chance; what is above is looked at. Where nothing is said of a
measurement, the number was chosen by its reason alone, and holds on the networks of `make faults` and their
controls.
"""

from __future__ import annotations

from collections.abc import Mapping

# Tolerances

# fp32 against fp32 differs by the order of additions alone: on ImageNet-sized networks ONNX Runtime stays within
# a few 1e-6 of PyTorch, and Core ML's kernels, freer in how they compute a convolution, within 1e-5.
FP32: Mapping[str, tuple[float, str]] = {
    "onnx": (1e-5, "fp32 ONNX: rounding of another order of additions"),
    "mlprogram": (1e-4, "fp32 Core ML: rounding of another order of additions and other kernels"),
    "neuralnetwork": (1e-4, "fp32 Core ML: rounding of another order of additions and other kernels"),
    "coreai": (1e-4, "fp32 Core AI: rounding of another order of additions and other kernels"),
}
# PyTorch is as far from the exact answer as fp32 costs it, on the other side perhaps, and a runtime's kernels,
# which are not measured, may be twice as unlucky as any of PyTorch's.
FP32_FACTOR = 3.0
# Times the floor: one digit for networks that magnify rounding. A network that asks for more is ill-conditioned,
# and what moves it further is to be looked at, not excused.
FP32_CAP = 10.0
# Times what rounding to fp16 costs PyTorch itself on these images, between a floor and a cap. One photo of a
# prototype differed by 7e-3 where rounding the module gave 5e-4, so the floor is not lower; above the cap faults
# would hide.
FP16_FACTOR, FP16_FLOOR, FP16_CAP = 3.0, 1e-2, 5e-2
# The same for weights that are compressed: times what the file's own grids cost PyTorch itself on these images,
# with fp16's rounding where the file computes in fp16. A converter folds and rounds in its own order, so numbers
# between two steps may go the other way. The floor is that of the precision. int8 by channels,
# the mildest compression that there is, costs EfficientNet-Lite0 0.10 on photos; the cap is half as much again, and
# whoever compresses by more is told which layers cost it.
COMPRESSION_FACTOR, COMPRESSION_CAP = 3.0, 0.15
# Of fp16 and of compression what rounding costs is measured on so many images, evenly spaced over all, so that the
# tolerance is the same for 100 images and for 50,000. Another image costs more than all of them once in 65 times.
SAMPLE = 64
# An image beyond is allowed the same factor times what rounding costs on it. A single draw of that says little: two
# roundings of one image are two draws of about one normal number, and that of the candidate is three times as far
# as the other on every fifth image. So the cost of an image is the root mean square of so many draws, half as much
# again: about the largest of five. With this at most 1 sound conversion of 100 fails on 5,000 images, and 3 on
# 50,000, whatever their sensitivities are (tests/parity/core/test_second_look.py).
DRAWS, DRAWN_SPREAD = 32, 1.5
# Of these so many tell it where it is clear: within the factor times their root mean square, or beyond twice what
# the image would be allowed by them.
FIRST_DRAWS, CLEARLY_BEYOND = 8, 2.0
# In all no more draws than images, as that is what the run costs anyway, and where there are few of them so many.
SECOND_LOOKS = 128
# So seldom may chance alone put more images beyond the tolerance than are expected: a suite has many legs, and runs
# for years. It costs little: 111 of 5,000 images may be beyond, and it were 92 with a confidence of 95 %.
BEYOND_CHANCE = 1e-4
# What may excuse another label, whatever else is allowed: no tolerance above excuses arithmetic that moves a
# probability by more, fp16 included, so two classes further apart than twice this were not tied.
TIE_TOLERANCE = 5e-2
# A network that spreads 95 % of the entropy of a uniform answer has seen nothing in the image.
FLAT_ENTROPY = 0.95
# The most of a sum that fp32 may lose over very many classes; over 100,000 it was up to 1e-3.
SOFTMAX_LOSS = 1e-2

# fp16

# The largest number that fp16 holds, and the smallest above 0.
HALF_LARGEST, HALF_SMALLEST = 65504.0, 2.0**-24
# A sum of probabilities that fp16 rounded may be so far from 1.
HALF_SUM = 2e-2

# Saved results

# Shares and sums are exact but for rounding, and files keep all digits of a number.
SAVED_ROUNDING = 1e-6
# A case may have PyTorch's probabilities with their sum made exact, which the bounds of a batch are not.
SAVED_SUMS = 1e-2
# Another processor adds in another order: that is noise. In fp16 it now and then rounds the other way. Measured on
# the fixtures, between kernels for AVX512, AVX2 and SSE4.1 and other numbers of threads: 2e-6, and 2e-3 in fp16.
MACHINES: Mapping[str, float] = {"fp32": 1e-5, "fp16": 5e-3}

# Calibration

# Ways that lie further apart do not compute the same: a network of ImageNet's size keeps within a hundredth of the
# first, and within the second no cause is sought in fp16 either.
INNOCENT = {"fp32": 1e-4, "fp16": FP16_FLOOR}

# A softmax in fp16 rounds each of a thousand numbers; what is further from a sum of 1 is no softmax.
PROBABILITY_SUM = 1e-2

# Where a fault lies: values inside the network

# How many times what rounding one operation costs another rounding of it may cost: kernels add in other orders, and
# a folded batch norm rounds other weights than the two that it was folded from.
OPERATION_FACTOR = 8.0
# Relative to the size of a channel: below this no operation is called different in this precision.
OPERATION_FLOORS = {"fp32": 2e-5, "fp16": 2e-3}
# The wrapper's normalisation multiplies where a plain one divides: rounding, which a network may magnify.
WRAPPER = 1e-4

# Which fault it is

# What of a difference an explanation may leave over, in root mean squares.
LEFT_OVER = 0.05
# What of its root mean square a function of one number may leave over, to be the one.
ACTIVATION_LEFT = {"fp32": 2e-5, "fp16": 4e-3}
# A step towards parity brings the median |dp| down to this share of what it was.
PROGRESS = 0.8
# Of the squares: what fp16's rounding of 0..255 leaves of a perfect fit, with room; and the same of a coefficient.
INPUT_FIT, INPUT_SAME = 0.999, 4e-3
# PyTorch in fp32 is nearer to itself in fp64 than this by far.
REFERENCE = 1e-5
# Two ways of rounding pixels differ by less than noise of one bit does, times this.
PIXELS_ROUNDED = 2.0

# The contract

# Where no contract restores parity, another than that of our own conversions counts if it leaves less than this
# share of the mean |dp|: to numbers of another range a network answers nearly the same whatever it is shown.
CONTRACT_NEARER = 0.5

# Weights

# Relative to the size of the weight: below this it is the same, up to the order in which somebody folded.
WEIGHT_SAME = 2e-5
# Half a step of fp16, with room for numbers too small for its normal range.
WEIGHT_HALF = 1e-3
# The cosine of kernels that belong together, even if one is quantised: no two of a network are that alike. And that
# of weights that are the same but for rounding.
WEIGHT_ALIKE, WEIGHT_VERY_ALIKE = 0.95, 0.99999
# Below this cosine a weight has nothing in common with what it should be.
WEIGHT_UNRELATED = 0.3
# The largest epsilon that a normalisation is given: 1e-3 is TensorFlow's, and nobody was seen to go beyond 1e-2.
EPSILON_MOST = 0.05
# Numbers that fp16 rounded lie so far from a grid of quantised ones, in its steps.
GRID_OFF = 0.07
# A grid of a file leaves a weight so many times farther from PyTorch's than the best grid of its kind does, and no
# more: a range that was cut or left wide, k-means that stopped early, a search by another measure.
GRID_FACTOR = 2.0
# Kernels that are folded twice are apart by no more than what fp16 leaves of one: the share of the largest number.
FOLDED = 2e-3

# The audit

# What rounding alone moves: another order of additions in fp32, by format; in fp16 the step between two
# probabilities near 1.
AUDIT: Mapping[str, float] = {"onnx": 3e-6, "mlprogram": 1e-5, "neuralnetwork": 1e-5, "coreai": 1e-5}
AUDIT_FP16 = 5e-4
# A kind of image is advised where the mutant moves it clearly beyond what is allowed, not at the very edge.
CLEARLY = 1.5
