from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.errors import ConversionError
from conversion.labels import check_labels, imagenet_labels, read_labels, unique_labels

EXCERPT = Path(__file__).parents[2] / "fixtures" / "labels" / "imagenet_class_index_excerpt.json"


def write(folder: Path, content: str | bytes, name: str = "labels.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("tench\ngoldfish\n", ("tench", "goldfish")),
        ("tench\ngoldfish", ("tench", "goldfish")),
        ("tench\r\ngoldfish\r\n", ("tench", "goldfish")),
        ("tench\ngoldfish\n\n \n", ("tench", "goldfish")),
        (b"\xef\xbb\xbftench\n", ("tench",)),
        ("great white shark\nSchäferhund\n", ("great white shark", "Schäferhund")),
        ("a\u2028b\n\x0cc\n", ("a\u2028b", "c")),
        ("[unused]\ntench\n", ("[unused]", "tench")),
        ("{0}\n", ("{0}",)),
        ('["tench", "goldfish"]', ("tench", "goldfish")),
    ],
)
def test_text_files(tmp_path: Path, content: str | bytes, labels: tuple[str, ...]) -> None:
    assert read_labels(write(tmp_path, content)) == labels


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ('["tench", "goldfish"]', ("tench", "goldfish")),
        ('{"0": "tench", "1": "goldfish"}', ("tench", "goldfish")),
        ('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("tench", "goldfish")),
        ('\ufeff["tench"]', ("tench",)),
        # JSON says where a name begins and ends; these are two.
        ('["cat", " cat"]', ("cat", " cat")),
    ],
)
def test_json_files(tmp_path: Path, content: str, labels: tuple[str, ...]) -> None:
    assert read_labels(str(write(tmp_path, content, "labels.json"))) == labels


def test_keys_are_ordered_as_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({str(i): f"class {i}" for i in sorted(range(12), key=str)}), "labels.json")
    assert read_labels(path) == tuple(f"class {i}" for i in range(12))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", "", "holds no labels"),
        ("labels.txt", " \n\n", "holds no labels"),
        ("labels.txt", "tench\n\ngoldfish\n", "line 2 is empty"),
        ("labels.txt", b"tench\nSch\xe4ferhund\n", "not UTF-8 (byte 9 is 0xe4)"),
        ("labels.json", "[]", "holds no labels"),
        ("labels.json", "{}", "holds no labels"),
        ("labels.json", "tench\n", "is not JSON"),
        ("labels.json", '["tench"', "is not JSON"),
        ("labels.json", "[" * 100_000, "is not JSON"),
        ("labels.json", '"tench"', "holds 'tench'"),
        ("labels.json", "[1, 2]", "index 0 holds 1, not a name"),
        ("labels.json", '["tench", null]', "index 1 holds None, not a name"),
        ("labels.json", '["tench", " "]', "index 1 is empty"),
        ("labels.json", '{"tench": 0}', "key 'tench', which is no class index"),
        ("labels.json", '{"-1": "tench"}', "key '-1', which is no class index"),
        ("labels.json", '{"٣": "tench"}', "key '٣', which is no class index"),
        ("labels.json", '{"0": "tench", "0": "goldfish"}', "class index 0 twice"),
        ("labels.json", '{"0": "tench", "00": "goldfish"}', "class index 0 twice"),
        ("labels.json", '{"0": "tench", "2": "shark"}', "2 labels up to index 2, but none at index 1:"),
        ("labels.json", '{"1": "tench", "2": "shark"}', "none at index 0:"),
        ("labels.json", '{"9": "a", "0": "b", "4": "c"}', "none at index 1, 2, 3, 5, 6 and more:"),
        ("labels.json", '{"999999999": "a"}', "none at index 0, 1, 2, 3, 4 and more:"),
    ],
)
def test_a_file_that_holds_no_labels_is_refused(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path, content, name)
    with pytest.raises(ConversionError) as caught:
        read_labels(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"absent\.txt does not exist"):
        read_labels(tmp_path / "absent.txt")
    with pytest.raises(ConversionError, match="is a directory"):
        read_labels(tmp_path)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="does not exist"):
        read_labels(write(tmp_path, "tench\n") / "labels.txt")


def test_the_old_imagenet_list_repeats_two_names() -> None:
    labels = read_labels(EXCERPT)
    assert labels == ("tench", "crane", "tabby", "crane", "maillot", "maillot", "water_bottle", "espresso")
    with pytest.raises(ConversionError) as caught:
        check_labels(labels, 8)
    message = str(caught.value)
    assert "'crane' at 1 and 3; 'maillot' at 4 and 5" in message
    assert "unique_labels(labels)" in message
    assert "read_labels(path, unique=True)" in message
    assert "\n" not in message


def test_the_old_imagenet_list_can_be_made_unique() -> None:
    labels = read_labels(EXCERPT, unique=True)
    assert labels == ("tench", "crane", "tabby", "crane (3)", "maillot", "maillot (5)", "water_bottle", "espresso")
    check_labels(labels, 8)


def test_every_index_of_a_duplicate_is_named() -> None:
    with pytest.raises(ConversionError, match=r"duplicate labels: 'a' at 0, 2 and 3\."):
        check_labels(["a", "b", "a", "a"], None)


def test_many_duplicates_are_cut_short() -> None:
    with pytest.raises(ConversionError, match=r"'4' at 4 and 14 and more\."):
        check_labels([str(i % 10) for i in range(20)], None)


def test_the_count_must_be_the_number_of_outputs() -> None:
    check_labels(["a", "b"], 2)
    check_labels(["a", "b"], None)
    with pytest.raises(ConversionError, match="2 labels for a model with 3 outputs"):
        check_labels(["a", "b"], 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no labels"),
        (["a", ""], "label 1 is empty"),
        ([" \t"], "label 0 is empty"),
        ([7], "label 0 is 7, not text"),
        (["a", "b\ud83d"], r"label 1 is 'b\\ud83d'; '\\ud83d' is half a character \(a lone surrogate\).*UTF-8"),
        (["\udce9t\udce9"], r"label 0 is '\\udce9t\\udce9'; '\\udce9' is half a character"),
        (["a", "b\0c"], r"label 1 is 'b\\x00c'; Core ML's answers end a name at the character NUL"),
    ],
)
def test_labels_that_are_no_names_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        check_labels(labels, None)


def test_a_name_that_is_taken_gets_its_index_once_more() -> None:
    assert unique_labels(["crane", "crane (2)", "crane"]) == ("crane", "crane (2)", "crane (2) (2)")
    assert unique_labels(["crane", "crane", "crane (1)"]) == ("crane", "crane (1) (1)", "crane (1)")


@given(st.lists(st.sampled_from(["a", "b", "a (1)", "a (2)", "b (3)", "a (1) (1)", "a (2) (2)"]), max_size=12))
def test_unique_labels_are_unique_and_keep_what_was(labels: list[str]) -> None:
    result = unique_labels(labels)
    assert len(set(result)) == len(result) == len(labels)
    for index, (old, new) in enumerate(zip(labels, result, strict=True)):
        first = labels.index(old) == index
        assert (new == old) == first
        assert new.startswith(old)
    assert unique_labels(result) == result


def test_imagenet_labels_are_torchvisions() -> None:
    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    assert [labels[i] for i in (0, 134, 517, 638, 639, 967)] == [
        *("tench", "crane bird", "crane", "maillot", "maillot tank suit", "espresso"),
    ]
    check_labels(labels, 1000)
