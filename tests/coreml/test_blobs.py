"""The weight file: read against coremltools' own writer, and damaged in every way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conversion.quiet import import_coremltools
from parity.coreml.blobs import open_blobs
from parity.errors import CoreMLError


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, dict[str, int]]:
    """Write three blobs with coremltools and return their offsets."""
    import_coremltools()
    from coremltools.libmilstoragepython import _BlobStorageWriter

    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    offsets = {
        "floats": writer.write_float_data(np.arange(5, dtype=np.float32)),
        "halves": writer.write_fp16_data(np.arange(7, dtype=np.float16).view(np.uint16)),
        "bytes": writer.write_uint8_data(np.arange(3, dtype=np.uint8)),
    }
    del writer
    return path, offsets


def test_reads_what_coremltools_wrote(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written
    blobs = open_blobs(path)

    assert blobs.read(offsets["floats"], 4, "w").view(np.float32).tolist() == [0, 1, 2, 3, 4]
    assert blobs.read(offsets["halves"], 2, "w").view(np.float16).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert blobs.read(offsets["bytes"], 1, "w").tolist() == [0, 1, 2]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CoreMLError, match="weight file is missing"):
        open_blobs(tmp_path / "weight.bin")


def test_a_file_too_short_for_its_header(tmp_path: Path) -> None:
    (tmp_path / "weight.bin").write_bytes(b"\0" * 10)

    with pytest.raises(CoreMLError, match="truncated"):
        open_blobs(tmp_path / "weight.bin")


def test_another_version(written: tuple[Path, dict[str, int]]) -> None:
    path, _ = written
    data = bytearray(path.read_bytes())
    data[4] = 1
    path.write_bytes(data)

    with pytest.raises(CoreMLError, match="version 1"):
        open_blobs(path)


def test_an_offset_past_the_end(written: tuple[Path, dict[str, int]]) -> None:
    with pytest.raises(CoreMLError, match="`w` stands at offset 1000000, past the end"):
        open_blobs(written[0]).read(1_000_000, 4, "`w`")


def test_an_offset_where_no_blob_is(written: tuple[Path, dict[str, int]]) -> None:
    with pytest.raises(CoreMLError, match="no blob stands at offset 1"):
        open_blobs(written[0]).read(1, 4, "`w`")


def test_a_truncated_file(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written
    path.write_bytes(path.read_bytes()[: offsets["bytes"] + 64])

    with pytest.raises(CoreMLError, match="the file is truncated"):
        open_blobs(path).read(offsets["bytes"], 1, "`w`")


def test_a_size_that_is_no_multiple_of_the_type(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written

    with pytest.raises(CoreMLError, match="should have 3 bytes"):
        open_blobs(path).read(offsets["bytes"], 2, "`w`")
