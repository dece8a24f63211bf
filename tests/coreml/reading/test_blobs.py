"""The weight file: read against coremltools' own writer, and damaged in every way."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from conversion.guards.quiet import import_coremltools
from parity.core.errors import CoreMLError
from parity.coreml.dtypes import unpack
from parity.coreml.reading.blobs import open_blobs, release


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

    assert blobs.read(offsets["floats"], "fp32", "w").view(np.float32).tolist() == [0, 1, 2, 3, 4]
    assert blobs.read(offsets["halves"], "fp16", "w").view(np.float16).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert blobs.read(offsets["bytes"], "uint8", "w").tolist() == [0, 1, 2]


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
        open_blobs(written[0]).read(1_000_000, "fp32", "`w`")


def test_an_offset_where_no_blob_is(written: tuple[Path, dict[str, int]]) -> None:
    with pytest.raises(CoreMLError, match="no blob stands at offset 1"):
        open_blobs(written[0]).read(1, "fp32", "`w`")


def test_a_truncated_file(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written
    path.write_bytes(path.read_bytes()[: offsets["bytes"] + 64])

    with pytest.raises(CoreMLError, match="the file is truncated"):
        open_blobs(path).read(offsets["bytes"], "uint8", "`w`")


def test_a_size_that_is_no_multiple_of_the_type(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, offsets["halves"] + 8, 13)
    path.write_bytes(data)

    with pytest.raises(CoreMLError, match="should have 13 bytes"):
        open_blobs(path).read(offsets["halves"], "fp16", "`w`")


def test_a_blob_of_another_type(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written

    with pytest.raises(CoreMLError, match="`w` should be fp32, but the blob at offset .* holds fp16"):
        open_blobs(path).read(offsets["halves"], "fp32", "`w`")
    data = bytearray(path.read_bytes())
    data[offsets["halves"] + 4] = 99
    path.write_bytes(data)
    with pytest.raises(CoreMLError, match="unknown type 99"):
        open_blobs(path).read(offsets["halves"], "fp16", "`w`")


def test_a_type_that_weight_files_lack(written: tuple[Path, dict[str, int]]) -> None:
    with pytest.raises(CoreMLError, match="`w` is of the type fp64, which no version"):
        open_blobs(written[0]).read(written[1]["floats"], "fp64", "`w`")


_WIDTHS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}


@pytest.mark.parametrize("dtype", _WIDTHS)
@pytest.mark.parametrize("count", [1, 8, 11, 24])
def test_numbers_below_a_byte_are_packed(tmp_path: Path, dtype: str, count: int) -> None:
    import_coremltools()
    from coremltools.converters.mil.mil import types
    from coremltools.libmilstoragepython import _BlobStorageWriter

    bits = _WIDTHS[dtype]
    numbers = np.random.default_rng(0).integers(0, 1 << bits, count) - (8 if dtype == "int4" else 0)
    builtin = types.string_to_builtin(dtype)
    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    offset = getattr(writer, f"write_{dtype}_data")(numbers.astype(types.nptype_from_builtin(builtin)))
    del writer

    packed = open_blobs(path).read(offset, dtype, "`w`")

    assert packed.size == -(-count * bits // 8)
    assert unpack(packed, bits, count).tolist() == (numbers % (1 << bits)).tolist()


def test_released_pages_are_read_again(tmp_path: Path) -> None:
    numbers = np.arange(5000, dtype=np.uint8)
    (tmp_path / "weight.bin").write_bytes(struct.pack("<II", 1, 2) + bytes(56) + numbers.tobytes())
    blob = open_blobs(tmp_path / "weight.bin").memory[64:]

    for part in (blob, blob[4100:4200].reshape(10, 10), blob[:0]):
        release(part)

    np.testing.assert_array_equal(blob, numbers)


def test_memory_of_its_own_is_not_released() -> None:
    array = np.arange(5000)
    release(array[10:])

    assert array.sum() == 5000 * 4999 // 2
