"""What answers for itself when it is asked: it is looked at without being asked, and counts by what it holds."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from conversion.fingerprint.installed import is_users, release_of_module
from conversion.fingerprint.mentions import find_source
from conversion.fingerprint.reach import Reach, reach, reach_of

asked: list[str] = []


class Holds(torch.nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        vars(self)["value"] = value  # PyTorch asks what is put there for its class


def held(value: Any) -> Reach:
    return reach(Holds(value))


@pytest.fixture(autouse=True)
def nothing_is_asked() -> Iterator[None]:
    asked.clear()
    yield
    assert asked == []


def refuse(name: str) -> Any:
    asked.append(name)
    raise RuntimeError(f"nobody asks for {name}")


# Modules


class Lazy(ModuleType):
    """A module of a class of its own, which loads what it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return refuse(name)


def module(number: float, kind: type[ModuleType] = ModuleType, **more: Any) -> ModuleType:
    made = kind("made_by_hand")
    vars(made).update({"NUMBER": number, **more})
    return made


MODULES: dict[str, Callable[[float], ModuleType]] = {
    "without a file": module,
    "whose file is None": lambda number: module(number, __file__=None),
    "whose file is no text": lambda number: module(number, __file__=Path("x.py")),
    "whose file is not there": lambda number: module(number, __file__="_made.py"),
    "whose name is None": lambda number: module(number, __name__=None),
    "of a lazy class": lambda number: module(number, Lazy),
    "with a function that loads": lambda number: module(number, __getattr__=refuse),
    "whose path raises": lambda number: module(number, __path__=Iterated([])),
}


class Iterated(list[Any]):
    def __iter__(self) -> Any:
        return refuse("__iter__")


@pytest.mark.parametrize("kind", [kind for kind in MODULES if kind != "whose path raises"])
def test_a_strange_module_counts_by_what_it_holds(kind: str) -> None:
    assert held(MODULES[kind](1.0)) == held(MODULES[kind](1.0))
    assert held(MODULES[kind](1.0)) != held(MODULES[kind](2.0))


def test_directories_that_cannot_be_listed_are_none() -> None:
    assert held(MODULES["whose path raises"](1.0)) != held(MODULES["whose path raises"](2.0))
    asked.clear()  # a list of directories is what the import system makes, and it must be gone through


def named(home: ModuleType) -> Callable[[Any], Any]:
    """Make a function that names a module, and some attributes that it has not loaded."""
    scope: dict[str, Any] = {"home": home, "__name__": "named"}
    exec("def function(x):\n    return x * home.NUMBER * home.missing(getattr(home, 'other'))", scope)
    return scope["function"]


@pytest.mark.parametrize("kind", [kind for kind in MODULES if kind != "whose path raises"])
def test_a_function_that_names_a_strange_module(kind: str) -> None:
    assert reach_of(named(MODULES[kind](1.0))) == reach_of(named(MODULES[kind](1.0)))
    assert reach_of(named(MODULES[kind](1.0))) != reach_of(named(MODULES[kind](2.0)))


def test_a_class_of_a_module_that_loads_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def classes(number: float) -> type:
        scope = {"__name__": "made_by_hand", "number": number}
        exec("class Made:\n    def scale(self):\n        return number", scope)
        return scope["Made"]

    monkeypatch.setitem(sys.modules, "made_by_hand", module(1.0, Lazy))
    assert held(classes(1.0)) == held(classes(1.0))
    assert held(classes(1.0)) != held(classes(2.0))


@pytest.mark.parametrize("there", [None, object(), 5], ids=["nothing", "an object", "a number"])
def test_what_stands_among_the_modules_and_is_none(there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, Any] = {"__name__": "made_by_hand"}
    exec("class Made:\n    pass\ndef function(x):\n    import made_by_hand\n    return Made", scope)
    monkeypatch.setitem(sys.modules, "made_by_hand", there)

    assert reach_of(scope["function"]) == reach_of(scope["function"])


@pytest.mark.parametrize("stated", [None, 5, ["a"]], ids=str)
def test_a_class_whose_module_is_no_name(stated: Any) -> None:
    def made(number: float) -> type:
        return type("Made", (), {"__module__": stated, "number": number})

    assert held(made(1.0)) == held(made(1.0))
    assert held(made(1.0)) != held(made(2.0))


def test_modules_without_a_file_belong_to_whoever_made_them() -> None:
    assert release_of_module(sys) == release_of_module(importlib.import_module("_thread")) == "python"
    assert release_of_module(torch.ops) == release_of_module(torch) == f"torch=={torch_version()}"
    assert release_of_module(torch.ops.aten) == f"torch=={torch_version()}"
    assert is_users(module(1.0))
    assert is_users(module(1.0, Lazy))
    assert not is_users(torch.ops)


def torch_version() -> str:
    return importlib.metadata.version("torch")


def test_operators_that_were_called_meanwhile_change_nothing() -> None:
    before = held(torch.ops)
    torch.ops.aten.logaddexp2  # noqa: B018 - it is put among the attributes when it is asked for
    assert held(torch.ops) == before


# Packages without an __init__.py


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a package without an __init__.py into two directories."""
    for place, name in (("one", "first"), ("two", "second")):
        (tmp_path / place / "apart" / "deep").mkdir(parents=True)
        (tmp_path / place / "apart" / "deep" / f"{name}.py").write_text("NUMBER = 1.0\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path / place)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "apart"]:
        del sys.modules[name]


@pytest.mark.parametrize(("place", "name"), [("one", "first"), ("two", "second")])
def test_a_namespace_package_that_is_not_loaded_yet_counts(place: str, name: str, apart: Path) -> None:
    file = apart / place / "apart" / "deep" / f"{name}.py"
    scope: dict[str, Any] = {"__name__": "named"}
    exec(f"def function(x):\n    from apart.deep import {name}\n    return x * {name}.NUMBER", scope)

    assert find_source(f"apart.deep.{name}", "") == (f"apart.deep.{name}", str(file))
    before = reach_of(scope["function"])
    assert reach_of(scope["function"]) == before
    file.write_text("NUMBER = 2.0\n", encoding="utf-8")
    assert reach_of(scope["function"]) != before


def test_a_namespace_package_is_whose_its_directories_are(apart: Path) -> None:
    loaded = importlib.import_module("apart.deep.first")

    assert is_users(loaded)
    assert is_users(sys.modules["apart"])
    assert is_users(sys.modules["apart.deep"])
    before = held(sys.modules["apart"])
    loaded.NUMBER = 2.0
    scope: dict[str, Any] = {"__name__": "named", "apart": sys.modules["apart"]}
    exec("def function(x):\n    return x * apart.deep.first.NUMBER", scope)
    with_two = reach_of(scope["function"])
    loaded.NUMBER = 3.0
    assert reach_of(scope["function"]) != with_two
    assert held(sys.modules["apart"]).known
    assert before.known


@pytest.mark.parametrize("error", [RuntimeError, ImportError, KeyError])
def test_a_finder_that_fails_finds_nothing(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            raise error(name)

    monkeypatch.setattr(sys, "meta_path", [Finder()])
    assert find_source("nowhere_at_all", "") is None


# Values


class Loading(OrderedDict[str, Any]):
    """A mapping that makes its values as they are asked for, as that of models in transformers."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def items(self) -> Any:
        return refuse("items")

    def __iter__(self) -> Any:
        return refuse("__iter__")

    def __getitem__(self, key: str) -> Any:
        return refuse(key)


class Foreign(Mapping[str, Any]):
    """A mapping that is no dictionary."""

    def __init__(self, number: float) -> None:
        self.number = number

    def __getitem__(self, key: str) -> Any:
        return refuse(key)

    def __iter__(self) -> Iterator[str]:
        return iter([refuse("__iter__")])

    def __len__(self) -> int:
        return int(refuse("__len__"))


class Filled(dict[str, Any]):
    def items(self) -> Any:
        return refuse("items")


class Silent:
    """An object that raises whatever it is asked for, even for its class and what it holds."""

    def __init__(self, number: float) -> None:
        object.__setattr__(self, "number", number)

    def __getattribute__(self, name: str) -> Any:
        if name in ("__reduce_ex__", "__class__"):  # the one is tried, the other asked for by isinstance
            raise RuntimeError(name)
        return refuse(name)

    def __repr__(self) -> str:
        raise RuntimeError("__repr__")

    __hash__ = object.__hash__


class Posing:
    """An object that says that it is of another class."""

    def __init__(self, number: float) -> None:
        self.number = number

    @property
    def __class__(self) -> Any:
        return refuse("__class__")


def growing(number: float) -> defaultdict[str, float]:
    return defaultdict(lambda: number)


VALUES: dict[str, Callable[[float], Any]] = {
    "a mapping that loads": Loading,
    "a mapping that is no dictionary": Foreign,
    "a dictionary with its own items": lambda number: Filled(a=number),
    "a list with its own iteration": lambda number: Iterated([number]),
    "an object that raises": Silent,
    "an object that poses": Posing,
    "a default": growing,
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_strange_value_counts_by_what_it_holds(kind: str) -> None:
    assert held(VALUES[kind](1.0)) == held(VALUES[kind](1.0))
    assert held(VALUES[kind](1.0)) != held(VALUES[kind](2.0))
    assert held(VALUES[kind](1.0)).known


@pytest.mark.parametrize("kind", VALUES)
def test_a_strange_value_among_the_names_of_a_function(kind: str) -> None:
    def function(number: float) -> Callable[[], Any]:
        scope: dict[str, Any] = {"value": VALUES[kind](number), "__name__": "named"}
        exec("def function():\n    return value", scope)
        return scope["function"]

    assert reach_of(function(1.0)) == reach_of(function(1.0))
    assert reach_of(function(1.0)) != reach_of(function(2.0))


def test_the_order_of_a_dictionary_with_an_order_counts() -> None:
    def moved(last: str) -> OrderedDict[str, int]:
        ordered = OrderedDict(a=1, b=2, c=3)
        ordered.move_to_end(last)
        return ordered

    assert held(moved("a")) == held(moved("a"))
    assert held(moved("a")) != held(moved("b"))


# transformers, as what somebody installed from a repository or a directory

VIT = """
import importlib.metadata
import json
import sys
from conversion.guards.torchvision_guard import watch
watch()
url = {"repository": {"vcs_info": {"commit_id": "c0ffee"}}, "directory": {"dir_info": {}}}[sys.argv[1]]
read = importlib.metadata.PathDistribution.read_text

def read_text(self, name):
    beside = name == "direct_url.json" and self.metadata["Name"] == "transformers"
    return json.dumps(url) if beside else read(self, name)

importlib.metadata.PathDistribution.read_text = read_text
import torch
import transformers
from conversion.fingerprint.reach import reach, reach_of

class Net(torch.nn.Module):
    def __init__(self, vit):
        super().__init__()
        self.vit, self.library = vit, transformers
    def forward(self, x):
        assert isinstance(self.vit, transformers.ViTForImageClassification)
        return self.vit(x).logits

def vit():
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=8, num_labels=2)
    return transformers.ViTForImageClassification(config).eval()

made = [Net(vit()), vit(), torch.nn.ModuleDict({"vit": vit()})]
made[0](torch.zeros(1, 3, 16, 16))
before = set(sys.modules)
print(*[reach(one) for one in made], reach_of(vit), sep="\\n")
assert set(sys.modules) == before, "looking at it loaded " + " ".join(set(sys.modules) - before)
transformers.models.vit.modeling_vit.ViTAttention.extra = lambda self: 5
print(reach(made[1]))
"""


def fingerprints(source: str) -> list[str]:
    """Look at models in another process: three, a function that makes one, and the second one with a new method."""
    pytest.importorskip("transformers")
    command = [sys.executable, "-W", "ignore", "-c", VIT, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_a_model_of_transformers_from_a_repository_has_one_fingerprint_in_every_process() -> None:
    first, second = fingerprints("repository"), fingerprints("repository")
    assert first == second
    assert len(first) == 5
    assert all("known=True" in line for line in first)
    assert first[1] != first[4]


def test_a_model_of_transformers_from_a_directory_is_looked_at_and_loads_nothing() -> None:
    found = fingerprints("directory")
    assert len(found) == 5
    assert found[1] != found[4]
