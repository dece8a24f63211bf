"""Operations that compute something else than PyTorch's, whatever it is: undone by letting PyTorch do them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from parity.diagnosis.naming import name_fault
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.types import Located

# More operations than this are not undone one by one: it costs a trace for each.
_MOST = 4


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Name every operation that was located; several are undone together too."""
    graph = examination.file.graph
    if examination.torch.program is None or graph is None:
        return
    # What is wrong before the first operation is the input's family's.
    located = [one for one in examination.divergences if one.type != "input" and one.value != graph.input]
    chance = examination.candidate.apart_twice
    for one in located[:_MOST]:
        fault, message = name_fault(examination, one)
        if chance > 1e-6:
            fault, message = (
                "mode-dropout-live",
                f"Two identical runs differ by {chance:.2g}: dropout is active. {message}",
            )
        yield Suspect(fault, message, _repair(examination, [one]), seen=True)
    if 1 < len(located) <= _MOST:
        named = [name_fault(examination, one) for one in located]
        message = "; ".join(message[:-1] for _, message in named)
        yield Suspect(named[0][0], f"{message}.", _repair(examination, located))


def _repair(examination: Examination, located: Sequence[Located]) -> Repair | None:
    if any(one.number < 0 for one in located):
        return None  # PyTorch has no value that could stand there
    return Repair(run=partial(_run, examination=examination, located=tuple(located)))


def _run(artifact: Artifact, examination: Examination, located: tuple[Located, ...]) -> Predict:
    from parity.diagnosis.graft import grafted

    graph, program = examination.file.graph, examination.torch.program
    assert graph is not None
    assert program is not None
    return grafted(artifact, graph, program, examination.divergences, located)
