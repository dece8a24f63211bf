"""Shapes that the file takes, or only says that it takes: how many images at once, and of which size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parity.backends.reference import Reference
from parity.core.refusals import EXPECTED
from parity.diagnosis.fixes import fix
from parity.diagnosis.repair import Repair, holds
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.environment import asked_again
from parity.diagnosis.trial import apply
from parity.formats import format_of
from parity.formats.editing import settings
from parity.suite.images import ImageSet

if TYPE_CHECKING:
    from conversion.shapes import Axis, InputShapes
    from parity.core.results import Comparison
    from parity.diagnosis.examination import Examination
    from parity.formats.editing import Editable

Size = tuple[int, int]
# How ONNX Runtime names the node that fails.
_FAILED_AT = re.compile(r"while running (?P<type>\w+) node\. Name:'(?P<name>[^']+)'")
_RGB = 20  # FeatureTypes.proto: ImageFeatureType.ColorSpace


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Compare what was asked of the file with what it declares, and try the shapes that it was written for."""
    if examination.candidate.is_recorded:
        return
    from conversion.shapes import read_input_shapes

    accepted = read_input_shapes(examination.file.artifact)
    options = [option for option in accepted.options if len(option) == 4]
    yield from _other_type(examination)
    if options and not any(examination.pixels.shape[3] in option[1] for option in options):
        yield from _other_channels(examination, options[0])
        return
    batch = examination.candidate.batch
    size = (int(examination.pixels.shape[1]), int(examination.pixels.shape[2]))
    if options and not any(batch in option[0] for option in options):
        yield _fixed_batch(examination, options[0][0].lower)
    elif batch > 1:
        yield from _baked_batch(examination)
    own = examination.reference.model.preprocessing.size
    if options and not any(size[0] in option[2] and size[1] in option[3] for option in options):
        taken = [_nearest(option, size) for option in options]
        yield _other_size(examination, min(taken, key=lambda t: abs(t[0] - size[0]) + abs(t[1] - size[1])), size)
    elif size != own:
        yield from _flexible(examination, accepted, own, size)


def _other_type(examination: Examination) -> Iterator[Suspect]:
    """Look for an input of a type that pixels do not have."""
    editable = examination.file.editable
    if examination.candidate.answers is not None:  # it took the pixels as it wants them
        return
    if name := editable.verbs.strange_input_type(editable.content):
        yield Suspect(
            "i-input-type",
            f"The file's input is of the type {name}, where PyTorch's is float: pixels 0 to 255 are refused.",
            Repair(edit=_of_floats, fix=f"input = input.astype(numpy.{name})"),
            seen=True,
        )


def _of_floats(model: Editable) -> None:
    model.verbs.take_floats(model.content)


def _other_channels(examination: Examination, option: Sequence[Axis]) -> Iterator[Suspect]:
    """Look for channels in another place, or for one where there should be three."""
    has_colours = format_of(examination.file.artifact).HAS_IMAGE_TYPE
    if examination.pixels.shape[3] != 3:
        return
    if not has_colours and 3 in option[3]:
        yield Suspect(
            "i-input-layout",
            "The file takes images with their channels last, [images, height, width, 3], where PyTorch's are "
            "[images, 3, height, width].",
            Repair(edit=_channels_first, fix="input = input.transpose(0, 2, 3, 1)"),
            seen=True,
        )
    elif has_colours and 1 in option[1]:
        yield Suspect(
            "pre-colour-mode",
            "The file's input is a grey image, of one channel; the classifier's has three.",
            Repair(edit=_in_colour, fix=_shaped("grey input", examination)),
            seen=True,
        )


def _channels_first(model: Editable) -> None:
    model.verbs.take_channels_first(model.content)


def _in_colour(model: Editable) -> None:
    model.verbs.declare_rgb(model.content)


def _fixed_batch(examination: Examination, fixed: int) -> Suspect:
    graph, batch = examination.file.graph, examination.candidate.batch
    image = graph.input if graph else "image"
    alone = Repair(
        batch=fixed,
        evidence=f"given {fixed} at once, the images agree",
        fix=_shaped("batch", examination, fixed=fixed, batch=batch),
    )
    if format_of(examination.file.artifact).HAS_NAMED_AXES:
        cause = f"Batch axis is fixed at {fixed}: dynamic_axes names no existing input (it is called `{image}`)"
        return Suspect("i-dynamic-axis-name", f"{cause}; batches of {batch} are refused.", alone, seen=True)
    message = f"The input `{image}` takes {fixed} image(s) at once, not {batch}: its batch axis is fixed."
    return Suspect("s-batch-baked", message, alone, seen=True)


def _shaped(name: str, examination: Examination, **values: object) -> str:
    """Write a fix that names the input and the classifier's size."""
    height, width = examination.pixels.shape[1:3]
    image = examination.file.graph.input if examination.file.graph else "image"
    return fix(name, examination.file.artifact.format, image=image, height=height, width=width, **values)


def _baked_batch(examination: Examination) -> Iterator[Suspect]:
    """Run alone what ran in a batch, and free the constants that hold the number of images."""
    alone = Repair(batch=1, evidence="given one by one, the images agree", fix="--batch 1")
    if not holds(apply(examination, [alone])):
        return
    candidate = examination.candidate
    fails = "fails" if candidate.answers is None else "answers otherwise"
    baked = _reshapes(examination)
    if baked:
        name, count = next(iter(baked)), len(baked)
        more = f"; so have {count - 1} more operation(s)" if count > 1 else ""
        message = f"Reshape `{name}` has the batch size 1 as a constant: batch {candidate.batch} {fails}{more}."
        free = Repair(
            edit=settings({name: {"input[1]": shape} for name, shape in baked.items()}),
            fix="x.flatten(1), or x.view(x.shape[0], ...)",
        )
        yield Suspect("s-batch-baked", message, free, seen=True)
    node = _FAILED_AT.search(candidate.judgement.reason)
    at = f" at {node['type']} `{node['name']}`" if node and candidate.answers is None else ""
    yield Suspect(
        "s-batch-baked",
        f"Images alone agree, but a batch of {candidate.batch} {fails}{at}: the batch size is a constant inside "
        "the file, or the images of a batch are mixed.",
        alone,
        seen=True,
    )


def _reshapes(examination: Examination) -> dict[str, np.ndarray]:
    """Find the reshapes whose constant begins with the number of images, and the constant that keeps it open."""
    graph = examination.file.graph
    values = examination.candidate.values(examination.pixels[0])
    if graph is None or values is None:
        return {}
    targets = format_of(examination.file.artifact).reshape_targets(examination.file.editable.content, graph)
    batches = {
        o.name: values[o.inputs[0]].shape[:1] for o in graph.operations if o.inputs and o.inputs[0] in values
    }
    return {
        # 0 copies the axis of what is reshaped.
        name: np.array([0, *shape[1:]], np.int64)
        for name, shape in targets.items()
        if batches.get(name) == (1,) and shape[:1] == (1,)
    }


def _nearest(option: Sequence[Axis], size: Size) -> Size:
    """Bring a size into the bounds of an option."""
    height, width = (
        max(axis.lower, side if axis.upper is None else min(axis.upper, side))
        for axis, side in zip(option[2:], size, strict=True)
    )
    return height, width


def _other_size(examination: Examination, taken: Size, size: Size) -> Suspect:
    sentence = f"The file takes images of {_written(taken)} (height x width), the classifier's are {_written(size)}"
    return Suspect(
        "i-input-size",
        f"{sentence}: it was converted for another size.",
        Repair(
            reference=partial(_at_size, size=taken),
            evidence=f"at {_written(taken)} the two agree",
            fix=f"{_shaped('size', examination)}, or Preprocessing(size={taken}, ...)",
        ),
        seen=True,
    )


def _flexible(examination: Examination, accepted: InputShapes, own: Size, size: Size) -> Iterator[Suspect]:
    """Compare at the classifier's own size, at the smallest and at the largest that the file declares."""
    at_own = Repair(
        reference=partial(_at_size, size=own),
        evidence=f"at {_written(own)} the two agree",
        fix=f"image.resize({own[::-1]})",
    )
    if not holds(apply(examination, [at_own], examination.screen)):
        return
    sizes = dict.fromkeys(one for one in (*_ends(accepted), own) if one != size)
    right: list[str] = []
    wrong: list[str] = []
    for one in sizes:
        comparison = _compared(examination, one)
        (right if comparison and holds(comparison) else wrong).append(_written(one))
    apart = examination.candidate.judgement.max_abs_diff
    shown = "it fails" if apart is None else f"max |dp| = {apart:.2g}"
    sentence = f"Parity holds at {', '.join(right)} only; at {_written(size)} {shown}"
    more = f", and it does not hold at {', '.join(wrong)} either" if wrong else ""
    yield Suspect("s-flexible-shape", f"{sentence}{more}: a size is a constant inside the file.", at_own, seen=True)


def _compared(examination: Examination, size: Size) -> Comparison | None:
    try:
        return apply(examination, [Repair(reference=partial(_at_size, size=size))], examination.screen)
    except EXPECTED:  # PyTorch does not take this size either
        return None


def _ends(accepted: InputShapes) -> Iterator[Size]:
    for option in accepted.options:
        height, width = option[2:]
        yield height.lower, width.lower
        if height.upper is not None and width.upper is not None:
            yield height.upper, width.upper


def _at_size(reference: Reference, size: Size) -> Reference:
    """Stretch the images to another size and let PyTorch answer for these."""
    from PIL import Image

    stretched = [
        np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
        for image in reference.images.pixels
    ]
    pixels = np.stack(stretched)
    return replace(asked_again(reference, pixels), images=ImageSet(reference.images.names, pixels))


def _written(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
