"""Faults by kind: each changes one setting, one weight or one function of a module that has it."""

from __future__ import annotations

from tests.faults.catalogue import Fault
from tests.faults.kinds_of_answers import ANSWERS
from tests.faults.kinds_of_functions import FUNCTIONS
from tests.faults.kinds_of_structure import STRUCTURE
from tests.faults.kinds_of_weights import WEIGHTS

KINDS: tuple[Fault, ...] = (*ANSWERS, *WEIGHTS, *FUNCTIONS, *STRUCTURE)
