"""`parity faults`: the list, one fault, and a name that there is not."""

from __future__ import annotations

from tests.parity.commands.command import Parity, Refused


def test_all_faults_are_listed_by_family(parity: Parity) -> None:
    done = parity("faults")

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "Preprocessing"
    assert "  pre-bgr-swap: Red and blue are exchanged" in lines
    assert [line for line in lines if not line.startswith("  ")][-1] == "Versions"


def test_one_fault_is_told_with_what_it_is_how_it_shows_and_what_to_do(parity: Parity) -> None:
    done = parity("faults", "g-pad-asymmetric")

    assert done.code == 0
    title, *rest = done.out.splitlines()
    assert title == "g-pad-asymmetric: Padding is at other sides"
    assert [line.partition(":")[0].strip() for line in rest] == ["what it is", "how it shows", "what to do"]


def test_a_name_may_be_given_as_reports_have_it(parity: Parity) -> None:
    assert parity("faults", "[g-clip]") == parity("faults", "g-clip")


def test_a_name_that_there_is_not_is_refused_with_the_nearest(refused: Refused) -> None:
    assert "'g-pad-asymetric': did you mean g-pad-asymmetric" in refused("faults", "g-pad-asymetric")
    assert refused("faults", "zzzz").endswith("`parity faults` lists all 96")
