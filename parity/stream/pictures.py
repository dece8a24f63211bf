"""Thumbnails for the page of a streamed run: of the worst images, which are read once more."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from conversion.errors import ConversionError
from conversion.images import read_pixels
from parity.core.results import Run, worst_first
from parity.stream.job import Job
from parity.stream.legs import load_models
from parity.stream.listing import list_images, shown
from parity.suite.suite import read_suite
from parity.suite.thumbnails import SHOWN, add_thumbnails, worst_thumbnails


def worst_pictures(job: Job, run: Run) -> dict[str, str]:
    """Make thumbnails of the worst images of each subject: image name -> data: URI.

    They are for the page alone: results.json must be what `parity merge` makes of cases files without the images.
    An image that went away meanwhile has none.
    """
    suite = read_suite(job.suite)
    asked = {subject.model for subject in run.subjects if subject.cases}
    classifiers = load_models(suite, [entry for entry in suite.models if entry.name in asked])
    wanted = {case.image for subject in run.subjects for case in worst_first(subject.cases)[:SHOWN]}
    images = list_images(job.images)
    paths = {shown(images[place]): Path(images.path(place)) for place in range(len(images))} if wanted else {}
    thumbnails: dict[str, str] = {}
    for subject in run.subjects:
        pixels = {}
        for case in worst_first(subject.cases)[:SHOWN]:
            with suppress(ConversionError, KeyError):
                pixels[case.image] = read_pixels(paths[case.image], classifiers[subject.model].preprocessing)
        add_thumbnails(thumbnails, subject.model, worst_thumbnails(subject, pixels))
    return thumbnails
