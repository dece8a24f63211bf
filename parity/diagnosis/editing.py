"""`parity.formats.editing`, under the name that it had here."""

from parity.formats.editing import Edit as Edit
from parity.formats.editing import Editable as Editable
from parity.formats.editing import edited as edited
from parity.formats.editing import open_editable as open_editable
from parity.formats.editing import settings as settings
