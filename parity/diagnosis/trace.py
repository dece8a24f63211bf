"""`parity.formats.trace`, under the name that it had here."""

from parity.formats.trace import Trace as Trace
from parity.formats.trace import open_trace as open_trace
