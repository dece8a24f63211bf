"""Batches of pixels: what is in them, why images are not, and that worker processes change nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conversion import Preprocessing
from conversion.images import read_pixels, read_pixels_for
from parity import ParityError
from parity.stream import decoding
from parity.stream.decoding import Batches, Decoded, Decoder, decode, same_pixels
from parity.stream.listing import list_images
from tests.parity.stream.jobs import save_pictures

SMALL = Preprocessing(size=(16, 16), resize=16)
TALL = Preprocessing(size=(32, 8), resize=(32, 8))


def decoded(directory: Path, size: int, numbers: range, workers: int = 0) -> list[Decoded]:
    return list(decode(Batches(list_images(directory), size, numbers), (SMALL, TALL), workers))


def test_a_batch_is_what_every_preprocessing_makes_of_its_images(tmp_path: Path) -> None:
    pictures = save_pictures(tmp_path / "pictures", 5)
    paths = sorted(pictures.iterdir())

    first, second = decoded(pictures, 3, range(2))

    for batch, part in ((first, paths[:3]), (second, paths[3:])):
        for pixels, steps in zip(batch.pixels, (SMALL, TALL), strict=True):
            np.testing.assert_array_equal(pixels, np.stack([read_pixels(path, steps) for path in part]))
        assert batch.reasons == ("",) * len(part)


def test_only_the_batches_that_are_asked_for_are_decoded(tmp_path: Path) -> None:
    pictures = save_pictures(tmp_path / "pictures", 7)
    every = decoded(pictures, 2, range(4))

    some = decoded(pictures, 2, range(1, 4, 2))

    for batch, same in zip(some, every[1::2], strict=True):
        np.testing.assert_array_equal(batch.pixels[0], same.pixels[0])


def test_an_image_that_changes_after_it_was_decoded_has_the_digest_of_what_was_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = save_pictures(tmp_path / "pictures", 2)
    before = hashlib.blake2b((pictures / "000.png").read_bytes(), digest_size=16).digest()

    def read_and_replace(path: str, *more: Any, **options: Any) -> Any:
        pixels = read_pixels_for(path, *more, **options)
        Path(path).write_bytes((pictures / "001.png").read_bytes())
        return pixels

    monkeypatch.setattr(decoding, "read_pixels_for", read_and_replace)
    (batch,) = decoded(pictures, 2, range(1))

    assert batch.contents[0] == before
    assert not np.array_equal(batch.pixels[0][0], batch.pixels[0][1])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_keep_the_order(tmp_path: Path, workers: int) -> None:
    pictures = save_pictures(tmp_path / "pictures", 11)

    for batch, same in zip(decoded(pictures, 2, range(6), workers), decoded(pictures, 2, range(6)), strict=True):
        np.testing.assert_array_equal(batch.pixels[0], same.pixels[0])
        np.testing.assert_array_equal(batch.pixels[1], same.pixels[1])


# What cannot be read


def truncated(path: Path) -> None:
    whole = path.with_suffix(".whole.jpg")
    Image.effect_noise((64, 64), 80).save(whole)
    path.write_bytes(whole.read_bytes()[:-900])
    whole.unlink()


def bomb(path: Path) -> None:
    """Write the header of a BMP that says that it has 20,000 x 20,000 pixels."""
    header = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    path.write_bytes(header + struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0))


BAD: dict[str, tuple[Any, str]] = {
    "truncated.jpg": (truncated, "damaged or incomplete"),
    "bomb.bmp": (bomb, "was not decoded; the limit is"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "text.jpg": (lambda path: path.write_text("no image"), "is not an image"),
    "dangling.jpg": (lambda path: path.symlink_to("gone.jpg"), "does not exist"),
    "pipe.jpg": (os.mkfifo, "is not a regular file"),
    "dot.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "shows a model nothing"),
    "line.png": (lambda path: Image.new("RGB", (1, 300_000)).save(path), "would be resized to"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_image_that_cannot_be_read_has_its_reason_and_no_pixels(tmp_path: Path, name: str) -> None:
    make, told = BAD[name]
    pictures = save_pictures(tmp_path / "pictures", 2)
    make(pictures / f"000_{name}")

    (batch,) = decoded(pictures, 3, range(1))

    assert [bool(reason) for reason in batch.reasons] == [False, True, False]
    assert told in batch.reasons[1]
    assert [len(pixels) for pixels in batch.pixels] == [2, 2]
    # Where the directory lies differs between machines, and results must not.
    assert str(tmp_path) not in batch.reasons[1]
    assert f"000_{name}" in batch.reasons[1]


def test_a_batch_of_nothing_but_bad_images_is_a_batch(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(b"")

    (batch,) = decoded(tmp_path, 2, range(1))

    assert all(batch.reasons)
    assert [pixels.shape for pixels in batch.pixels] == [(0, 16, 16, 3), (0, 32, 8, 3)]


def test_a_bad_name_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")

    (reason,) = Decoder((SMALL,))[[(str(tmp_path / name), "shown.jpg")]].reasons

    assert reason.startswith("shown.jpg does not exist")
    assert reason.encode("utf-8")


def test_models_that_normalise_otherwise_share_pixels() -> None:
    other = replace(SMALL, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))

    assert same_pixels(other) == same_pixels(SMALL)
    assert same_pixels(replace(SMALL, interpolation="bicubic")) != same_pixels(SMALL)


KILLED = """
import os, signal, sys
from pathlib import Path
from conversion import Preprocessing
from parity.stream.decoding import Batches, decode
from parity.stream.listing import list_images

batches = Batches(list_images(Path(sys.argv[1])), 1, range(20))
next(decode(batches, (Preprocessing(size=(16, 16), resize=16),), 2))
print("decoding", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_worker_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(save_pictures(tmp_path / "pictures", 20))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        # All processes that it started hold its output open, so this waits for the end of the last.
        told, _ = process.communicate(timeout=120)

    assert (told, process.returncode) == ("decoding\n", -signal.SIGKILL)


def die(worker: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_begin", die)

    with pytest.raises(ParityError, match="ended early .* start again with fewer --workers"):
        decoded(save_pictures(tmp_path / "pictures", 4), 2, range(2), workers=1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux tells of a process's signals there")
def test_ctrl_c_does_not_reach_what_workers_are_forked_from() -> None:
    decoding.start_workers_early(1)

    server: Any = forkserver
    status = Path(f"/proc/{server._forkserver._forkserver_pid}/status").read_text(encoding="utf-8")
    blocked = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk:"))
    assert blocked >> (signal.SIGINT - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
