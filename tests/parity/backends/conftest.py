"""The tiny classifier, converted once per session and route."""

from tests.conversion.conversions import conversions as conversions
from tests.conversion.conversions import converted as converted
