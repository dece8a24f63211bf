"""Settings of operations: what the file says against what the PyTorch operation was called with.

Only operations that give something else than PyTorch's are looked at: a setting that changes nothing is no fault.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.diagnosis.fixes import fix
from parity.diagnosis.repair import Repair
from parity.diagnosis.settings import expected_settings, functional_norm
from parity.diagnosis.suspects import Suspect
from parity.formats.editing import settings

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.source import Step
    from parity.diagnosis.types import Located
    from parity.formats.graph import Operation

# An operation of the file, PyTorch's, and setting -> what the file has, and what it should have.
_Wrong = tuple["Operation", "Step", dict[str, tuple[Any, Any]]]
# So many located operations that have one setting wrong alike are a rule, which holds for those behind them too.
_MANY = 3
# Setting, as a part of its name -> fault.
_FAULTS = (
    ("epsilon", "g-norm-eps"),
    ("training_mode", "mode-train-bn"),
    ("count_include_pad", "g-avgpool-include-pad"),
    ("exclude", "g-avgpool-include-pad"),
    ("dilation", "g-attribute"),
    ("stride", "g-attribute"),
    ("kernel", "g-attribute"),
    ("ceil", "g-pool-ceil-shape"),
    ("pad", "g-pad-asymmetric"),
    ("border", "g-pad-asymmetric"),
    ("antialias", "g-resize-antialias-dropped"),
    ("coordinate", "g-resize-mode"),
    ("align_corners", "g-resize-mode"),
    ("nearest_mode", "g-resize-mode"),
    ("cubic", "g-resize-mode"),
    ("approximate", "g-gelu-variant"),
    ("mode", "g-gelu-variant"),
    ("alpha", "g-activation"),
    ("beta", "g-activation"),
    ("slope", "g-activation"),
)


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Compare the settings of the operations that were located."""
    wrong = [difference for located in examination.divergences if (difference := _wrong(examination, located))]
    by_setting: dict[str, list[_Wrong]] = {}
    for operation, step, differences in wrong:
        by_setting.setdefault("+".join(sorted(differences)), []).append((operation, step, differences))
    for alike in by_setting.values():
        operation, step, differences = alike[0]
        changes = {o.name: {name: wanted for name, (_, wanted) in d.items()} for o, _, d in alike}
        remedy = _fix(examination, step, differences)
        for chosen in (changes, changes | _of_the_same(examination, alike)):
            if chosen is not changes and len(chosen) == len(changes):
                continue
            message = _sentence(operation, step, differences)
            if len(chosen) > 1:
                message = f"{message[:-1]}; so have {len(chosen) - 1} more operation(s)."
            yield Suspect(
                _fault(operation, differences), message, Repair(edit=settings(chosen)), seen=True, fix=remedy
            )


def _of_the_same(examination: Examination, alike: Sequence[_Wrong]) -> dict[str, dict[str, Any]]:
    """List what else in the file has the same wrong settings: only some operations are located at a time."""
    graph, (operation, _, differences) = examination.file.graph, alike[0]
    same = all(o.type == operation.type and d == differences for o, _, d in alike)
    if graph is None or not same or len(alike) < _MANY:
        return {}
    return {
        o.name: {name: wanted for name, (_, wanted) in differences.items()}
        for o in graph.operations
        if o.type == operation.type
        and all(_equal(_parsed(o.attributes.get(name)), was) for name, (was, _) in differences.items())
    }


def _wrong(examination: Examination, located: Located) -> _Wrong | None:
    graph, program = examination.file.graph, examination.torch.program
    if graph is None or program is None:
        return None
    names = {located.operation, *located.group}
    # In a forward of many functions only the very step says how a norm is called.
    exact = program.steps[program.producer[located.number]] if located.number in program.producer else None
    for operation in (o for o in graph.operations if o.name in names):
        for step in (s for s in program.steps if s.module in {located.module, *located.sources}):
            if not _same_layer(examination, operation, step):
                continue
            asked = (examination.file.artifact.format, operation, step, examination)
            expected = expected_settings(*asked) or (functional_norm(*asked) if step is exact else {})
            pairs = {name: (_parsed(operation.attributes.get(name)), wanted) for name, wanted in expected.items()}
            different = {n: (was, to) for n, (was, to) in pairs.items() if not _equal(was, to)}
            if different:
                return operation, step, different
    return None


def _same_layer(examination: Examination, operation: Operation, step: Step) -> bool:
    """Say whether an operation may be a step by the forms of their kernels, where both have one."""
    kernel = next((array for array in operation.weights.values() if array.ndim >= 3), None)
    state = examination.torch.weight_shapes
    wanted = next((state[name] for name in step.weights if name in state and len(state[name]) >= 3), None)
    return kernel is None or wanted is None or sorted(kernel.shape) == sorted(wanted)


def _sentence(operation: Operation, step: Step, differences: Mapping[str, tuple[Any, Any]]) -> str:
    where = f"`{step.module}`" if step.module else f"`{operation.name}`"
    listed = ", ".join(
        f"{_short(name)} {_shown(was)} instead of {_shown(wanted)}" for name, (was, wanted) in differences.items()
    )
    return f"{operation.type} {where} has {listed}."


def _short(name: str) -> str:
    """Name a field of NeuralNetwork.proto by its end, and the four amounts of padding by their sides."""
    sides = {"[0].startEdgeSize": "top", "[0].endEdgeSize": "bottom", "[1].startEdgeSize": "left"}
    for end, side in {**sides, "[1].endEdgeSize": "right"}.items():
        if name.endswith(f"borderAmounts{end}"):
            return f"padding at the {side}"
    return name.rpartition(".")[2]


def _fault(operation: Operation, differences: Mapping[str, Any]) -> str:
    kind = operation.type.lower()
    for part, fault in _FAULTS:
        if any(part in name.lower() for name in differences):
            if fault == "g-gelu-variant" and kind == "pad":
                return "g-pad-border"
            if fault == "g-gelu-variant" and "gelu" not in kind:
                return "g-resize-mode" if "size" in kind or "sample" in kind else "g-attribute"
            if part == "ceil" and "av" in kind:
                return "g-avgpool-ceil-divisor"
            return fault
    return "g-attribute"


def _fix(examination: Examination, step: Step, differences: Mapping[str, tuple[Any, Any]]) -> str:
    """Write what to do instead, where the tool that wrote the file is known to lose a setting."""
    wants_tanh = any("tanh" in str(wanted).lower() for _, wanted in differences.values())
    if step.whole != "gelu" or not wants_tanh:
        return ""
    return fix("tanh of GELU", examination.file.artifact.format)


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _equal(own: Any, wanted: Any) -> bool:
    if wanted is None or own is None:
        return own is wanted
    if isinstance(wanted, str) or isinstance(own, str):
        return str(own).lower() == str(wanted).lower()
    first, second = (np.asarray(v, np.float64).reshape(-1) for v in (own, wanted))
    return first.shape == second.shape and np.allclose(first, second, rtol=2e-3, atol=1e-9)


def _shown(value: Any) -> str:
    if value is None:
        return "its default"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
