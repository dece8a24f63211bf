"""The injections refer to the package's catalogue of faults: no other name can be expected."""

from __future__ import annotations

import pytest

from parity.core.faults import catalogue
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.file_catalogue import FILE_FAULTS
from tests.faults.kinds_catalogue import KINDS


@pytest.mark.parametrize("fault", [*FAULTS, *FILE_FAULTS, *KINDS], ids=lambda fault: fault.name)
def test_expected_causes_are_faults_of_the_catalogue(fault: Fault) -> None:
    assert fault.causes
    assert {name for cause in fault.causes for name in cause.split("|")} <= set(catalogue())
