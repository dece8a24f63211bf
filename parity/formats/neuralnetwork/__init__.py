"""NeuralNetwork: Core ML's older format, of layers that hold their weights."""

from parity.formats.coreml import app as app
from parity.formats.coreml.description import declared_input as declared_input
from parity.formats.coreml.description import numbered_classes as numbered_classes
from parity.formats.coreml.description import read_outputs as read_outputs
from parity.formats.coreml.graph import reshape_targets as reshape_targets
from parity.formats.coreml.running import open_trace as open_trace
from parity.formats.coreml.running import open_trace_with_values as open_trace_with_values
from parity.formats.coreml.running import open_with_values as open_with_values
from parity.formats.neuralnetwork import edit as edit
from parity.formats.neuralnetwork import settings as settings
from parity.formats.neuralnetwork.compression import compressed_weights as compressed_weights
from parity.formats.neuralnetwork.content import content as content
from parity.formats.neuralnetwork.content import operations as operations
from parity.formats.neuralnetwork.description import vision_told as vision_told
from parity.formats.neuralnetwork.graph import read_graph as read_graph

HAS_LABELS = True
HAS_IMAGE_TYPE = True
HAS_NAMED_AXES = False
HAS_COMPUTE_PRECISION = False
HAS_TRAINING_SWITCHES = False
RUNTIME_REWRITES = False
# The evaluator and Apple's runtime, of which Python has no version.
RUNTIME_PACKAGES: tuple[str, ...] = ()
RUNTIME = "Core ML"
RANK_OF_ITS_OWN = 5  # sequence, batch, channels, height, width
EXPORTER_FAULT = ""
VERSION_FAULT = "v-deployment-target"
