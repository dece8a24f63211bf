"""What images show: by directories, by files of labels, and one clear line for all that is wrong with those."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity import ParityError
from parity.stream.listing import ImageList, list_images
from parity.stream.truth import Truth, find_truth

MODELS = {"tiny": ("ant", "bee", "cat"), "other": ("ant", "bee", "cat", "dog")}
ONE = {"tiny": MODELS["tiny"]}


def images(directory: Path, *names: str) -> ImageList:
    for name in names:
        path = directory / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return list_images(directory / "images")


def said(truth: Truth, listed: ImageList) -> dict[str, str | None]:
    return {listed[index]: truth.of(index) for index in range(len(listed))}


# Directories


def test_directories_that_are_called_as_classes_say_what_is_in_them(tmp_path: Path) -> None:
    listed = images(tmp_path, "ant/1.png", "ant/deep/2.png", "cat/1.png", "loose.png")

    truth = find_truth(listed, None, MODELS)

    assert said(truth, listed) == {
        "ant/1.png": "ant",
        "ant/deep/2.png": "ant",
        "cat/1.png": "cat",
        "loose.png": None,
    }
    assert (truth.source, truth.models, truth.remark) == ("directories", {"tiny", "other"}, "")


def test_directories_are_the_truth_of_those_models_alone_that_have_them_all(tmp_path: Path) -> None:
    listed = images(tmp_path, "ant/1.png", "dog/1.png")

    truth = find_truth(listed, None, MODELS)

    assert truth.models == {"other"}
    assert truth.remark.startswith(
        f"{tmp_path}/images: accuracy of tiny is not measured: 1 of 2 directories are no "
    )
    assert "`dog` first" in truth.remark


def test_other_directories_say_nothing(tmp_path: Path) -> None:
    listed = images(tmp_path, "2024/1.png", "2025/1.png", "loose.png")

    truth = find_truth(listed, None, MODELS)

    assert (truth.source, truth.models, truth.remark) == ("", set(), "")
    assert set(said(truth, listed).values()) == {None}


def test_no_directories_say_nothing(tmp_path: Path) -> None:
    assert find_truth(images(tmp_path, "1.png"), None, MODELS).models == set()


# Files


def labels(directory: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,label\n1.png,bee\n\nants,ant\nants/own/2.png,cat\nants/own,bee\n"),
        ("labels.csv", '\ufeff"1.png",bee\r\n./ants,ant\r\nants/own/2.png,"cat"\r\nants/own,bee'),
        ("labels.json", '{"1.png": "bee", "ants": "ant",\n "ants/own/2.png": "cat", "ants/own": "b\\u0065e"}'),
    ],
)
def test_a_file_names_files_and_directories_and_the_nearest_counts(tmp_path: Path, name: str, text: str) -> None:
    listed = images(tmp_path, "1.png", "2.png", "ants/1.png", "ants/own/1.png", "ants/own/2.png")

    truth = find_truth(listed, labels(tmp_path, text, name), MODELS)

    assert said(truth, listed) == {
        "1.png": "bee",
        "2.png": None,
        "ants/1.png": "ant",
        "ants/own/1.png": "bee",
        "ants/own/2.png": "cat",
    }
    assert (truth.source, truth.models) == (name, {"tiny", "other"})


def test_a_file_that_is_quoted_may_hold_commas(tmp_path: Path) -> None:
    listed = images(tmp_path, "a, b.png")

    assert find_truth(listed, labels(tmp_path, '"a, b.png",bee\n'), ONE).of(0) == "bee"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("l.csv", "1.png,bee\n1.png\n", "l.csv:2: 1 columns, not the two"),
        ("l.csv", "1.png,bee,3\n", "l.csv:1: 3 columns"),
        ("l.csv", "1.png,bee\n\n,ant\n", "l.csv:3: the name of the file is empty"),
        ("l.csv", "1.png,bee\n2.png,ant\n./1.png,ant\n", "l.csv:3: `1.png` has a label already, in line 1"),
        ("l.csv", "1.png,bee\n3.png,ant\n", r"l.csv:2: no image `3.png` below .*; did you mean"),
        ("l.csv", "1.png,bee\n2.png,bea\n", "l.csv:2: tiny has no label 'bea'; did you mean 'bee'?"),
        ("l.csv", "1.png,zebra crossing\n", "l.csv:1: tiny has no label 'zebra crossing'; it has ant, bee, cat"),
        ("l.csv", "1.png,\n", "l.csv:1: tiny has no label ''"),
        ("l.csv", '1.png,bee\n"2.png,ant\n', "l.csv:2: not CSV"),
        ("l.csv", b"1.png,bee\n2.png,\xff\n", "l.csv:2: not UTF-8"),
        ("l.csv", "", "l.csv: no labels"),
        ("l.csv", "file,label\n", "l.csv: no labels"),
        ("l.json", "{}", "l.json: no labels"),
        ("l.json", '{"1.png": "bee",\n"2.png" "ant"}', "l.json:2: not JSON"),
        ("l.json", '["1.png"]', "l.json:1: a list, not one JSON object"),
        ("l.json", '{"1.png": "bee",\n\n"2.png": 3}', "l.json:3: the label of `2.png` is 3, not a text"),
        ("l.json", '{"1.png": "bee",\n"2.png": {"x": "y"}}', "l.json:2: the label of `2.png` is"),
        ("l.json", '{"1.png": "bee",\n"1.png": "ant"}', "l.json:2: `1.png` has a label already, in line 1"),
        ("l.json", '{"1.png":\n"bee",\n"2\\".png": "elk"}', "l.json:3: tiny has no label 'elk'"),
        ("l.json", "[" * 100_000, "l.json:1: "),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(
    tmp_path: Path, name: str, text: str | bytes, told: str
) -> None:
    listed = images(tmp_path, "1.png", "2.png", '2".png')

    with pytest.raises(ParityError, match=told.replace("?", r"\?").replace(".csv", r"\.csv")) as raised:
        find_truth(listed, labels(tmp_path, text, name), ONE)

    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"gone\.csv: cannot be read \(No such file or directory\)"):
        find_truth(images(tmp_path, "1.png"), tmp_path / "gone.csv", ONE)
