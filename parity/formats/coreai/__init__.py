"""Core AI: a program of MLIR in a directory, run by Apple's runtime, which is a reference interpreter on Linux."""

from parity.formats.coreai import app as app
from parity.formats.coreai import edit as edit
from parity.formats.coreai import settings as settings
from parity.formats.coreai.content import compressed_weights as compressed_weights
from parity.formats.coreai.content import content as content
from parity.formats.coreai.content import operations as operations
from parity.formats.coreai.description import declared_input as declared_input
from parity.formats.coreai.description import numbered_classes as numbered_classes
from parity.formats.coreai.description import read_outputs as read_outputs
from parity.formats.coreai.description import vision_told as vision_told
from parity.formats.coreai.graph import read_graph as read_graph
from parity.formats.coreai.graph import reshape_targets as reshape_targets
from parity.formats.coreai.running import open_trace as open_trace
from parity.formats.coreai.running import open_trace_with_values as open_trace_with_values
from parity.formats.coreai.running import open_with_values as open_with_values

HAS_LABELS = False
HAS_IMAGE_TYPE = False
HAS_NAMED_AXES = False
HAS_COMPUTE_PRECISION = False
HAS_TRAINING_SWITCHES = False
RUNTIME_REWRITES = False
RUNTIME_PACKAGES: tuple[str, ...] = ("coreai-core",)
RUNTIME = "Core AI"
RANK_OF_ITS_OWN = 0
EXPORTER_FAULT = ""
VERSION_FAULT = ""
