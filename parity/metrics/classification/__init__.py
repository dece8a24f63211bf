"""Class probabilities: the distance is the largest |dp|, the answer the top-1 label."""

from __future__ import annotations

from parity.core.metric import Metric
from parity.core.tolerance import differences
from parity.metrics.classification.cases import measure
from parity.metrics.classification.labels import aligned
from parity.metrics.classification.probability_soundness import contradictions
from parity.metrics.classification.sums import summed_exactly
from parity.metrics.classification.variety import variety_of

METRIC = Metric(
    distance="|Δp|",
    explained="the largest difference of a probability, |Δp|, over all images and classes",
    measure=measure,
    variety=variety_of,
    align=aligned,
    apart=differences,
    exact=summed_exactly,
    exact_told=(
        "PyTorch's own softmax loses {lost:.1e} in its fp32 sum over {size} classes, more than the {allowed:.1e} "
        "allowed; this file was compared with PyTorch's logits, summed exactly"
    ),
    contradictions=contradictions,
)
