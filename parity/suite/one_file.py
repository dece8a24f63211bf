"""A suite of one finished file and the model that it was made from, for commands that take a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conversion.own import FORMATS, finished_route
from parity.core.errors import ParityError
from parity.suite.models import find_entry
from parity.suite.suite import ModelEntry, Suite


def is_finished(path: Path | None) -> bool:
    """Tell whether a path names a converted model, by its suffix."""
    return path is not None and path.suffix in FORMATS


def suite_of_file(file: Path, models: Sequence[str], images: Sequence[str]) -> Suite:
    """Make a suite of a converted file.

    models: one model, a name in the suite file that is here or a factory. images: as `parity check` takes them; a
    name in the suite file has its own. Raises ParityError for none or several models, and for none of the images.
    """
    if len(models) != 1:
        raise ParityError(
            f"{file}: a converted model is compared with the one that it was made from; name that with --model, as "
            "file.py:callable or by its name in the suite file"
        )
    if not file.exists():
        raise ParityError(f"{file}: no such file")
    (model,) = models
    route = str(file)
    finished = {route: finished_route(route, file.absolute())}
    if ":" not in model:
        suite, entry = find_entry(model, None)
        chosen = tuple(str(Path(image).absolute()) for image in images) or entry.images
        entry = replace(entry, routes=(route,), converters=finished, images=chosen)
        return replace(suite, models=(entry,))
    if not images:
        raise ParityError(f"{file}: no images to compare it on; name some with --images")
    entry = ModelEntry(model.rpartition(":")[2], model, {}, (route,), tuple(images), converters=finished)
    return Suite(Path.cwd() / "parity.toml", (entry,))
