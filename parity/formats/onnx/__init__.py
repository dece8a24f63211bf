"""ONNX: a graph of nodes, run by ONNX Runtime, which rewrites it first."""

from parity.formats.onnx import app as app
from parity.formats.onnx import edit as edit
from parity.formats.onnx import settings as settings
from parity.formats.onnx.compression import compressed_weights as compressed_weights
from parity.formats.onnx.content import content as content
from parity.formats.onnx.content import operations as operations
from parity.formats.onnx.description import declared_input as declared_input
from parity.formats.onnx.description import numbered_classes as numbered_classes
from parity.formats.onnx.description import read_outputs as read_outputs
from parity.formats.onnx.description import vision_told as vision_told
from parity.formats.onnx.graph import read_graph as read_graph
from parity.formats.onnx.graph import reshape_targets as reshape_targets
from parity.formats.onnx.running import open_trace as open_trace
from parity.formats.onnx.running import open_trace_with_values as open_trace_with_values
from parity.formats.onnx.running import open_with_values as open_with_values

HAS_LABELS = False
HAS_IMAGE_TYPE = False
HAS_NAMED_AXES = True
HAS_COMPUTE_PRECISION = False
HAS_TRAINING_SWITCHES = True
RUNTIME_REWRITES = True
RUNTIME_PACKAGES: tuple[str, ...] = ("onnx",)
RUNTIME = "ONNX Runtime"
RANK_OF_ITS_OWN = 0
EXPORTER_FAULT = "v-exporter-default"
VERSION_FAULT = "g-opset-choice"
