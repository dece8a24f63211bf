"""Whatever user code and values a module reaches, a change of them is a change of its hash, and nothing else is."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrize

from conversion import ROUTES, Classifier, Preprocessing, convert
from conversion.fingerprint.installed import release_of
from conversion.fingerprint.probe import probe
from conversion.fingerprint.reach import reach
from conversion.routes import Route

# What each process does with each directory: load the model by its file, as `parity` does, and convert it. One
# takes all directories, for PyTorch takes seconds to load; between them it forgets what it imported from the last.
PROCESS = """
import os
import sys
import torch
from pathlib import Path
from conversion import ROUTES, convert
from conversion.routes import Route
from parity.suite.models import load_classifier

def write(classifier, path, provenance, opened):
    path.write_text("converted")
    converted.append(Path.cwd().name)

ROUTES["stub"] = Route("stub", "onnx", "fp32", ".onnx", write)
converted = []
flatten, path, modules = torch.nn.Flatten.forward, list(sys.path), dict(sys.modules)
for directory in map(Path, sys.argv[1:]):
    os.chdir(directory)
    convert(load_classifier("models.py:model", directory=directory), "stub", directory / "out")
    torch.nn.Flatten.forward, sys.path[:] = flatten, path
    for name, module in list(sys.modules.items()):
        if name not in modules and str(getattr(module, "__file__", "")).startswith(str(directory)):
            del sys.modules[name]
print(*converted)
"""
MODEL = """
import torch
from conversion import Classifier, Preprocessing
{imports}

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = 0.5
        self.flat = torch.nn.Flatten()
    def forward(self, x):
        {forward}

def model():
    net = Net().eval()
    {after}
    return Classifier("net", net, Preprocessing(size=(2, 2)), tuple("abcdefghijkl"))
"""
PLAIN = "return self.flat(x)"


def converted_in(*directories: Path, **environment: str) -> set[str]:
    """Run a process that converts what lies in each directory; name those where it had to."""
    here = {"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, *map(str, directories)],
        env={**os.environ, **here, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return {*done.stdout.split()}


def write_files(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")


def model(imports: str = "", forward: str = PLAIN, after: str = "pass") -> str:
    return MODEL.format(imports=imports, forward=forward, after=after)


TWIST = "def twist(x):\n    return x * 1.0\n"
# name -> files, and what of them is changed: file, before, after. Not one of them changes the class's own file but
# those that say so.
REACHED: dict[str, tuple[dict[str, str], tuple[str, str, str]]] = {
    "a function": (
        {"models.py": model("from helper import twist", "return self.flat(twist(x))"), "helper.py": TWIST},
        ("helper.py", "1.0", "0.5"),
    ),
    "a function of a module": (
        {"models.py": model("import helper as h", "return self.flat(h.twist(x))"), "helper.py": TWIST},
        ("helper.py", "1.0", "0.5"),
    ),
    "a function of a function": (
        {
            "models.py": model("from helper import turn", "return self.flat(turn(x))"),
            "helper.py": "from deeper import twist\ndef turn(x):\n    return twist(x)\n",
            "deeper.py": TWIST,
        },
        ("deeper.py", "1.0", "0.5"),
    ),
    "imported in forward": (
        {
            "models.py": model("", "from helper import twist; return self.flat(twist(x))"),
            "helper.py": "def twist(x):\n    import deeper\n    return deeper.twist(x)\n",
            "deeper.py": TWIST,
        },
        ("deeper.py", "1.0", "0.5"),
    ),
    "imported by its name": (
        {
            "models.py": model("import importlib", "return self.flat(importlib.import_module('helper').twist(x))"),
            "helper.py": TWIST,
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "a package": (
        {
            "models.py": model("import mine.parts", "return self.flat(mine.parts.twist(x))"),
            "mine/__init__.py": "",
            "mine/parts.py": "from . import deep\ndef twist(x):\n    return deep.twist(x)\n",
            "mine/deep.py": TWIST,
        },
        ("mine/deep.py", "1.0", "0.5"),
    ),
    "found by text": (
        {
            "models.py": model("import helper", "return self.flat(getattr(helper, 'tw' + 'ist')(x))"),
            "helper.py": TWIST,
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "found in a table": (
        {
            "models.py": model("from helper import TABLE", "return self.flat(TABLE['twist'](x))"),
            "helper.py": f"{TWIST}TABLE = {{'twist': twist}}\n",
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "a constant": (
        {
            "models.py": model("from helper import SCALE", "return self.flat(x * SCALE)"),
            "helper.py": "SCALE = 1.0\n",
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "a constant of a constant": (
        {
            "models.py": model("import helper", "return self.flat(x * helper.Settings.scale)"),
            "helper.py": "from deeper import SCALE\nclass Settings:\n    scale = SCALE\n",
            "deeper.py": "SCALE = 1.0\n",
        },
        ("deeper.py", "1.0", "0.5"),
    ),
    "read at import": (
        {
            "models.py": model("from helper import SCALE", "return self.flat(x * SCALE)"),
            "helper.py": "import json, pathlib\n"
            "SCALE = json.loads((pathlib.Path(__file__).parent / 'data.json').read_text())['scale']\n",
            "data.json": '{"scale": 1.0}',
        },
        ("data.json", "1.0", "0.5"),
    ),
    "read in forward": (
        {
            "models.py": model("import json", "return self.flat(x * json.load(open('data.json'))['scale'])"),
            "data.json": '{"scale": 1.0}',
        },
        ("data.json", "1.0", "0.5"),
    ),
    "read in forward under a name that is computed": (
        {
            "models.py": model(
                "import json", "return self.flat(x * json.load(open('data' + '.' + str(3)))['scale'])"
            ),
            "data.3": '{"scale": 1.0}',
        },
        ("data.3", "1.0", "0.5"),
    ),
    "a hook": (
        {
            "models.py": model(
                "from helper import twist", after="net.flat.register_forward_hook(lambda m, i, o: twist(o))"
            ),
            "helper.py": TWIST,
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "a forward that was replaced": (
        {
            "models.py": model(
                "import functools, helper", after="net.forward = functools.partial(helper.forward, net)"
            ),
            "helper.py": "def forward(self, x):\n    return self.flat(x) * 1.0\n",
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "a method of a library that was replaced": (
        {
            "models.py": model("import helper"),
            "helper.py": "import torch\ntorch.nn.Flatten.forward = lambda self, x: x.reshape(len(x), -1) * 1.0\n",
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "an attribute": (
        {
            "models.py": model(
                forward="return self.flat(x) * self.scale", after="import helper; net.scale = helper.SCALE"
            ),
            "helper.py": "SCALE = 1.0\n",
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "an object": (
        {
            "models.py": model("from helper import Turn", "return self.turn(self.flat(x))", "net.turn = Turn()"),
            "helper.py": "class Turn:\n    def __call__(self, x):\n        return x * 1.0\n",
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "a decorator": (
        {
            "models.py": model(
                "import helper", "return self.turn(x)", "Net.turn = helper.twisted(lambda self, x: self.flat(x))"
            ),
            "helper.py": "import functools\ndef twisted(f):\n    @functools.wraps(f)\n"
            "    def inner(*given):\n        return f(*given) * 1.0\n    return inner\n",
        },
        ("helper.py", "1.0", "0.5"),
    ),
    "made by exec": (
        {
            "models.py": model("from helper import twist", "return self.flat(twist(x))"),
            "helper.py": "import pathlib\nspace = {}\n"
            "exec((pathlib.Path(__file__).parent / 'code.txt').read_text(), space)\ntwist = space['twist']\n",
            "code.txt": TWIST,
        },
        ("code.txt", "1.0", "0.5"),
    ),
}


FORWARD = "return self.flat(x) * float(os.environ.get('NET_SCALE', '1'))"
# Directories in which nothing that the module reaches changes, or all the time something may.
OTHERS = {
    "environment": {"models.py": model("import os", FORWARD)},
    "beside": {**REACHED["a function"][0], "train.py": "RATE = 1.0\n"},
    "eval": {"models.py": model("import json", "return self.flat(x) * eval(json.dumps(1.0))")},
    "here": REACHED["a function of a function"][0],
    "there": REACHED["a function of a function"][0],
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """Name what each of five processes had to convert: twice as it is, twice with changes, and as it was."""
    place = tmp_path_factory.mktemp("reach")
    slots = {f"case{number}": REACHED[name] for number, name in enumerate(REACHED)}
    for slot, (files, _) in slots.items():
        write_files(place / slot, files)
    for name, files in OTHERS.items():
        write_files(place / name, files)
    every = [place / name for name in (*slots, *OTHERS) if name != "there"]
    done = [converted_in(*every, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    for slot, (files, (changed, old, new)) in slots.items():
        assert old in files[changed]
        write_files(place / slot, {changed: files[changed].replace(old, new)})
    write_files(place / "beside", {"train.py": "RATE = 0.5\n"})
    (place / "here" / "out").rename(place / "there" / "out")
    every[-1] = place / "there"
    done += [converted_in(*every, PYTHONHASHSEED=seed, NET_SCALE="0.5") for seed in ("3", "4")]
    for slot, (files, _) in slots.items():
        write_files(place / slot, files)
    return [*done, converted_in(*every, OTHER_SCALE="0.5")]


@pytest.mark.parametrize("name", REACHED)
def test_what_the_module_reaches_is_converted_anew_when_it_changes_and_never_else(
    name: str, processes: list[set[str]]
) -> None:
    slot = f"case{list(REACHED).index(name)}"

    # The last finds what was converted first.
    assert [slot in converted for converted in processes] == [True, False, True, False, False]


def test_an_environment_variable_that_forward_reads_counts_and_no_other(processes: list[set[str]]) -> None:
    assert ["environment" in converted for converted in processes] == [True, False, True, False, False]


def test_a_file_that_the_module_does_not_reach_does_not_count(processes: list[set[str]]) -> None:
    assert ["beside" in converted for converted in processes] == [True, False, False, False, False]


def test_the_same_module_elsewhere_is_the_same(processes: list[set[str]]) -> None:
    assert ["here" in converted for converted in processes[:2]] == [True, False]
    assert ["there" in converted for converted in processes[2:]] == [False, False, False]


def test_code_that_is_evaluated_when_it_runs_is_converted_every_time(processes: list[set[str]]) -> None:
    assert ["eval" in converted for converted in processes] == [True] * 5


def test_code_that_was_edited_after_it_was_loaded_does_not_pass_for_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_files(tmp_path, {"edited_later.py": TWIST})
    loaded = importlib.import_module("edited_later")
    module = Calls(loaded.twist)
    write_files(tmp_path, {"edited_later.py": TWIST.replace("1.0", "0.5")})
    stale = reach(module).digest

    monkeypatch.delitem(sys.modules, "edited_later")

    assert reach(Calls(importlib.import_module("edited_later").twist)).digest != stale


class Calls(torch.nn.Module):
    """Keep a value."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)


def adding(number: float) -> Callable[[Any], Any]:
    return lambda x: x + number


@dataclasses.dataclass
class Settings:
    scale: float
    inner: Any = None


class Slots:
    __slots__ = ("scale",)

    def __init__(self, scale: float) -> None:
        self.scale = scale


def looped(number: float) -> list[Any]:
    loop: list[Any] = [number]
    loop.append({"back": loop})
    return loop


def hidden(weight: float) -> list[torch.nn.Module]:
    linear = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(linear.weight, weight)
    torch.nn.init.zeros_(linear.bias)
    return [linear]


def chained(number: float, depth: int = 5000) -> Settings:
    found = Settings(number)
    for _ in range(depth):
        found = Settings(0.0, found)
    return found


VALUES: dict[str, Callable[[float], Any]] = {
    "closure": adding,
    "partial": lambda n: functools.partial(adding, n),
    "nested partial": lambda n: functools.partial(map, functools.partial(adding, n)),
    "method": lambda n: Settings(n).__eq__,
    "dataclass": Settings,
    "slots": Slots,
    "namespace": lambda n: SimpleNamespace(deep={"deeper": [SimpleNamespace(scale=n)]}),
    "loop": looped,
    "a long chain": chained,
    "modules that are not registered": hidden,
    "default of a function": lambda n: eval(f"lambda x, scale={n}: x * scale"),
    "code without a file": lambda n: eval(f"lambda x: x * {n}"),
    "frozen set": lambda n: frozenset({n, "a", "b"}),
    "generator": lambda n: torch.Generator().manual_seed(int(n * 8)),
    "numpy generator": lambda n: np.random.default_rng(int(n * 8)),
    "scripted": lambda n: torch.jit.script(torch.nn.LeakyReLU(n)),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_counts(kind: str) -> None:
    make = VALUES[kind]

    one, same, other = (reach(Calls(make(number))) for number in (0.25, 0.25, 0.5))

    assert one.known
    assert one == same
    assert one.digest != other.digest


def test_hooks_of_all_kinds_count_and_their_numbers_do_not() -> None:
    def hooked(number: float) -> torch.nn.Module:
        module = torch.nn.Flatten()
        module.register_forward_pre_hook(lambda m, inputs: (inputs[0] * number,))
        module.register_forward_hook(lambda m, inputs, output: output * number)
        return module

    assert reach(hooked(1.0)) == reach(hooked(1.0))
    assert len({reach(hooked(number)).digest for number in (1.0, 0.5)} | {reach(torch.nn.Flatten()).digest}) == 3


def test_hooks_on_every_module_count() -> None:
    before = reach(torch.nn.Flatten())
    handle = torch.nn.modules.module.register_module_forward_hook(lambda m, i, output: output)
    try:
        assert reach(torch.nn.Flatten()) != before
    finally:
        handle.remove()
    assert reach(torch.nn.Flatten()) == before


class Doubled(torch.nn.Module):
    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.times


def test_a_parametrization_counts() -> None:
    def parametrized(times: float) -> torch.nn.Module:
        linear = torch.nn.Linear(1, 1)
        parametrize.register_parametrization(linear, "weight", Doubled(times))
        return linear

    assert reach(parametrized(1.0)) == reach(parametrized(1.0))
    assert reach(parametrized(1.0)) != reach(parametrized(0.5))


def test_a_traced_graph_counts() -> None:
    def traced(number: float) -> torch.nn.Module:
        return torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.LeakyReLU(number)))

    assert reach(traced(0.25)) == reach(traced(0.25))
    assert reach(traced(0.25)) != reach(traced(0.5))


def test_what_cannot_be_looked_into_is_not_known() -> None:
    assert not reach(Calls(number for number in range(3))).known


# Whose a file is


def test_installed_releases_are_known_by_their_version_and_the_users_files_by_content(tmp_path: Path) -> None:
    assert release_of(torch.__file__) == f"torch=={importlib.metadata.version('torch')}"
    assert release_of(np.__file__) == f"numpy=={np.__version__}"
    assert release_of(os.__file__) == "python"
    assert release_of("<frozen importlib._bootstrap>") == "python"
    for file in ("<string>", __file__, str(tmp_path / "models.py")):
        assert release_of(file) is None


# What an installer writes beside a release that is from no index, and what the release is then called.
DIRECT_URLS = {
    None: "mine==1.0",
    '{"url": "file:///mine", "dir_info": {"editable": false}}': None,
    '{"url": "https://a/mine.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}': "mine==1.0@c0ffee",
    '{"url": "file:///mine.whl", "archive_info": {"hashes": {"sha256": "beef"}}}': "mine==1.0@beef",
    '{"url": "file:///mine.whl", "archive_info": {"hash": "sha256=beef"}}': "mine==1.0@sha256=beef",
    '{"url": "file:///mine.whl", "archive_info": {}}': None,
    '{"url": "https://a/mine.git", "vcs_info": {"vcs": "git"}}': None,
    "damaged": None,
    "[]": None,
}


@pytest.mark.parametrize(("url", "called"), DIRECT_URLS.items())
def test_what_is_installed_from_elsewhere_is_known_by_its_commit_or_digest_or_is_the_users(
    url: str | None, called: str | None, tmp_path: Path
) -> None:
    site = tmp_path / "site-packages"
    files = {
        "mine/__init__.py": "",
        "mine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n",
        "mine-1.0.dist-info/RECORD": "mine/__init__.py,,\n",
        "stray.py": "",
    }
    write_files(site, files | ({"mine-1.0.dist-info/direct_url.json": url} if url else {}))

    assert release_of(str(site / "mine" / "__init__.py")) == called
    assert release_of(str(site / "stray.py")) is None


# The probe


def test_the_probe_is_the_same_every_time_and_leaves_the_random_numbers_alone() -> None:
    noisy = Classifier("noisy", Noisy().eval(), Preprocessing(size=(2, 2)), tuple("abcdefghijkl"))
    state = torch.random.get_rng_state()

    one, other = probe(noisy), probe(noisy)

    np.testing.assert_array_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


class Noisy(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1) + torch.rand(12)


class Biased(torch.nn.Module):
    """Add what nothing but the answers shows."""

    bias = 0.0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1) + opaque.bias


class Opaque:
    bias = 0.0

    def __reduce__(self) -> str:
        return "opaque"


opaque = Opaque()


@pytest.mark.parametrize(("change", "again"), [(1e-6, False), (1e-3, True)])
def test_rounding_is_the_same_answer_and_more_is_not(
    change: float, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def write(classifier: Classifier, path: Path, *_: object) -> None:
        calls.append(path)
        path.write_text("", encoding="utf-8")

    monkeypatch.setitem(ROUTES, "stub", Route("stub", "onnx", "fp32", ".onnx", write))
    classifier = Classifier("biased", Biased().eval(), Preprocessing(size=(2, 2)), tuple("abcdefghijkl"))
    first = convert(classifier, "stub", tmp_path)

    monkeypatch.setattr(opaque, "bias", change)
    second = convert(classifier, "stub", tmp_path)
    monkeypatch.setattr(opaque, "bias", 0.0)

    assert (second.path != first.path, len(calls)) == (again, 1 + again)
    assert convert(classifier, "stub", tmp_path) == first
    (first.path.parent / "probe.json").write_text("[[", encoding="utf-8")
    assert convert(classifier, "stub", tmp_path).remark.endswith("probe.json has other content")
    assert len(calls) == 2 + again
