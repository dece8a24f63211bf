"""File -> pixels, in worker processes that keep the order."""

from __future__ import annotations

import os
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from conversion.classifier import Preprocessing
from conversion.errors import ImageError
from conversion.images import read_pixels_for
from parity.core.errors import ParityError
from parity.stream.listing import ImageList, shown
from parity.stream.stamps import content_digest
from parity.suite.images import SMALLEST

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from torch.utils.data import Dataset

# What the workers are forked from has imported these, so that each starts at once and they share the memory.
_PRELOADED = ["torch.utils.data", "parity.stream.preloaded"]


@dataclass(frozen=True)
class Decoded:
    """Hold a batch of images.

    pixels: for each preprocessing uint8 [N, H, W, 3] of the images that could be read.
    reasons: for every image of the batch why it could not be read; empty where it could.
    contents: for every image of the batch the digest of its file.
    """

    pixels: tuple[np.ndarray, ...]
    reasons: tuple[str, ...]
    contents: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Decoder:
    """Decode batches; a data set in PyTorch's sense whose indices are lists of (path, name)."""

    preprocessings: tuple[Preprocessing, ...]

    def __getitem__(self, index: Sequence[tuple[str, str]]) -> Decoded:
        rows: list[list[np.ndarray]] = []
        reasons, contents = [], []
        for path, name in index:
            # Before it is decoded: a file that is written to meanwhile then has another content later, and not the
            # digest of what nobody compared.
            contents.append(content_digest(path))
            reason = ""
            try:
                rows.append(list(read_pixels_for(path, self.preprocessings, at_least=SMALLEST)))
            except ImageError as error:
                # Where the directory lies, and on whose machine, must not show in the results.
                reason = str(error).replace(path, name)
            reasons.append(reason.encode("utf-8", "backslashreplace").decode())
        shapes = [(*preprocessing.size, preprocessing.channels) for preprocessing in self.preprocessings]
        pixels = tuple(
            np.stack([row[place] for row in rows]) if rows else np.zeros((0, *shape), np.uint8)
            for place, shape in enumerate(shapes)
        )
        return Decoded(pixels, tuple(reasons), tuple(contents))


def same_pixels(preprocessing: Preprocessing) -> Preprocessing:
    """Leave out what does not decide about pixels: models that normalise otherwise share them."""
    plain = Preprocessing()
    return replace(preprocessing, mean=plain.mean, std=plain.std)


@dataclass(frozen=True)
class Batches:
    """List the images of some batches of a list: `size` images each, the last one what is left."""

    images: ImageList
    size: int
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[list[tuple[str, str]]]:
        for number in self.numbers:
            start = number * self.size
            places = range(start, min(start + self.size, len(self.images)))
            yield [(self.images.path(place), shown(self.images[place])) for place in places]


def decode(batches: Batches, preprocessings: tuple[Preprocessing, ...], workers: int) -> Iterator[Decoded]:
    """Decode batches in their order. workers: processes; 0 stands for this one."""
    from torch.utils.data import DataLoader

    if not batches.numbers:
        return
    options: dict[str, Any] = {}
    if workers:
        start_workers_early(workers)
        options = {"multiprocessing_context": _context(), "worker_init_fn": _begin, "prefetch_factor": 2}
    with warnings.catch_warnings():
        # The number of workers is the user's affair.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: Any = DataLoader(
            cast("Dataset[Decoded]", Decoder(preprocessings)),
            batch_size=None,
            sampler=batches,
            num_workers=workers,
            **options,
        )
        decoded = iter(loader)
    try:
        yield from decoded
    except RuntimeError as error:  # how PyTorch tells of a worker that died
        message = " ".join(str(error).split())
        if not re.search("exited unexpectedly|killed by signal", message):
            raise
        raise ParityError(
            f"a process that decodes images ended early ({message}); start again with fewer --workers: what is "
            "done is kept"
        ) from error


def start_workers_early(workers: int) -> None:
    """Let the process that workers are forked from begin with its imports, while this one loads models."""
    if workers:
        from multiprocessing import forkserver, resource_tracker

        _context()
        # It takes Ctrl-C off the list of what is withheld, if it is started by the other.
        resource_tracker.ensure_running()
        # Ctrl-C reaches all processes of a terminal; the first of them ends the others. What is withheld while it
        # starts is withheld from the forkserver for good, and from the workers, whose imports it would end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> BaseContext:
    import multiprocessing

    # Not `fork`: by now this process has threads, of PyTorch and of runtimes, and a copy may stand still for ever.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _begin(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the forkserver was running before us
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # PyTorch's workers watch the process that they were forked from, and that one waits for the last of them: where
    # the run itself is killed, they would all stay for ever.
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
