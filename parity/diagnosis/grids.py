"""What the best grid of a kind and so many bits costs a weight: what a file's own grid is held against."""

from __future__ import annotations

import warnings

import numpy as np

from parity.formats.compression import CompressedWeight, as_vectors, block_slices, kept_by_magnitude, spread

# So many vectors of a weight are enough to find what a codebook costs, in all its blocks together; and so many of
# each of its entries.
_VECTORS, _OF_EACH = 16384, 16
# For fewer vectors than these times its entries, a codebook of their own is no measure: it has them all.
_FEW = 4
# Spaces between the entries of an even codebook differ by no more than this share: fp16 rounds them.
_EVEN = 0.05


def best_error(weight: CompressedWeight, numbers: np.ndarray) -> float:
    """Return how far the best grid leaves numbers from what they are, as a share of their size.

    Of whole numbers and of an even codebook it is the grid from one end of each block to the other, of another
    codebook the one that k-means finds. Where the weight is pruned, the smallest numbers are zero besides.
    """
    exact = np.asarray(numbers, np.float64).reshape(weight.shape)
    size = float(np.square(exact).sum()) + 1e-60
    kept = np.ones(exact.shape, bool) if weight.kept is None else kept_by_magnitude(exact, weight.kept)
    lost = float(np.square(exact[~kept]).sum())
    if weight.codebook is not None:
        blocks, (entries, length) = weight.codebook.shape[:-2], weight.codebook.shape[-2:]
        each = exact.size / (np.prod(blocks) * length)
        if _is_even(weight.codebook):
            lost += _even_loss(exact, kept, blocks, entries - 1)
        elif each < _FEW * entries:
            # coremltools writes one codebook with a scale for each channel as one for each number of a row.
            lost += _even_loss(exact, kept, (1,) * exact.ndim, entries - 1)
        else:
            lost += _codebook_loss(weight, weight.codebook, exact, kept)
    elif weight.levels is not None:
        blocks = (1,) * exact.ndim if weight.scale is None else weight.scale.shape
        lost += _even_loss(exact, kept, blocks, max(2**weight.bits - 2, 1))
    return float(np.sqrt(lost / size))


def _even_loss(exact: np.ndarray, kept: np.ndarray, blocks: tuple[int, ...], steps: int) -> float:
    """Return the squares that are lost on an even grid around zero. steps: between its ends."""
    largest = np.zeros(blocks)
    for place in np.ndindex(*blocks):
        where = block_slices(place, blocks, exact.shape)
        largest[place] = np.abs(exact[where]).max(initial=0.0)
    step = spread(largest, exact.shape) * 2 / steps
    off = np.divide(exact, step, np.zeros_like(exact), where=step > 0)
    # An even number of levels has none at zero.
    rounded = np.clip(np.floor(off) + 0.5, -steps / 2, steps / 2) if steps % 2 else np.round(off)
    return float(np.square((rounded - off) * step)[kept].sum())


def _codebook_loss(weight: CompressedWeight, codebook: np.ndarray, exact: np.ndarray, kept: np.ndarray) -> float:
    from scipy.cluster.vq import kmeans2

    *blocks, entries, length = codebook.shape
    scale = None if weight.scale is None else spread(weight.scale, weight.shape)
    lost = 0.0
    for place in np.ndindex(*blocks):
        where = block_slices(place, blocks, exact.shape)
        part = exact[where]
        if scale is not None:
            part = np.divide(part, scale[where], np.zeros_like(part), where=scale[where] != 0)
        back = 1.0 if scale is None else float(np.square(scale[where]).mean())
        vectors = as_vectors(part, length, weight.vector_axis) if length > 1 else part[kept[where]].reshape(-1, 1)
        if not len(vectors):
            continue
        most = max(entries * _OF_EACH, _VECTORS // int(np.prod(blocks)))
        some = vectors[:: max(1, len(vectors) // most)]
        if len(np.unique(some, axis=0)) <= entries:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an entry that nothing is nearest to
            centres, nearest = kmeans2(some, _start(some, entries), minit="matrix", iter=10)
        lost += back * float(np.square(some - centres[nearest]).sum()) * len(vectors) / len(some)
    return lost


def _start(vectors: np.ndarray, entries: int) -> np.ndarray:
    """Begin k-means with vectors that lie evenly among all, by their size along the first axis."""
    order = np.argsort(vectors[:, 0], kind="stable")
    places = np.linspace(0, len(order) - 1, entries).round().astype(int)
    chosen: np.ndarray = vectors[order[places]]
    return chosen


def _is_even(codebook: np.ndarray) -> bool:
    """Say whether all entries differ, and follow one another at one distance, in every block."""
    if codebook.shape[-1] != 1 or codebook.shape[-2] < 3:
        return False
    spaces = np.diff(np.sort(codebook[..., 0], axis=-1), axis=-1)
    mean = spaces.mean(axis=-1, keepdims=True)
    return bool((np.abs(spaces - mean) <= _EVEN * mean).all() and (mean > 0).all())
