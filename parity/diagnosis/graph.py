"""`parity.formats.graph`, under the name that it had here."""

from parity.formats.graph import Graph as Graph
from parity.formats.graph import Operation as Operation
from parity.formats.graph import dynamic_values as dynamic_values
from parity.formats.graph import read_graph as read_graph
