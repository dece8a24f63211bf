"""Suite files that TOML's parser, or ours, might stumble over."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.attack.attack import Attack
from tests.attack.families.images import SPECIAL
from tests.attack.place import SUITE

RUN = ("parity", "run", "evil.toml", "--no-explain")
MODEL = '[models.tiny]\nfactory = "models.py:tiny"\n'

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(1000),
    "not UTF-8": b"images = ['\xff\xfe']\n",
    "UTF-16": SUITE.encode("utf-16"),
    "an integer of 5,000 digits": b"images = [" + b"9" * 5000 + b"]\n",
    "a hexadecimal of 5,000 digits": b"images = [0x" + b"f" * 5000 + b"]\n",
    "5,000 nested arrays": b"images = " + b"[" * 5000 + b"]" * 5000 + b"\n",
    "5,000 nested tables": b"images = " + b"{a=" * 5000 + b"1" + b"}" * 5000 + b"\n",
    "3,000 dotted keys": b".".join([b"a"] * 3000) + b" = 1\n",
    "a table of 3,000 keys deep": b"[" + b".".join([b"a"] * 3000) + b"]\nx = 1\n",
    "3,000 dotted keys of arguments": MODEL.encode() + b"arguments." + b".".join([b"a"] * 3000) + b" = 1\n",
    "a key of 1 MB": b"a" * 2**20 + b" = 1\n",
    "a string of 1 MB": b'images = ["' + b"a" * 2**20 + b'"]\n' + MODEL.encode(),
    "a key twice": b"images = []\nimages = []\n",
    "half": SUITE[: len(SUITE) // 2].encode(),
    "control characters": b"images = ['\x07']\n",
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n",
    "json": b'{"models": {}}',
}
VALUES = ("7", "-1", "true", "1.5", '""', "[]", "{}", '["a"]', "1979-05-27", "nan", '"*"', '[["a"]]')
# Keys, and which of the values above are right for them.
KEYS: dict[str, tuple[str, ...]] = {
    "images": (),
    "routes": ("[]",),
    "models": (),
    "models.tiny.factory": (),
    "models.tiny.routes": ("[]",),
    "models.tiny.tolerance": ("{}",),
    "models.tiny.tolerance.onnx": (),
    "models.tiny.tolerance.onnx.probability": (),
    "models.tiny.dynamic": (),
    "models.tiny.bounds": (),
    "known_issues": ("[]",),
    "toolchains": ("{}",),
    "unknown": (),
    "models.tiny.unknown": (),
}
FACTORIES = (
    "models.py",
    "models.py:",
    ":tiny",
    "models.py:nobody",
    "models.py:LABELS",
    "models.py:pictures",
    "models.py:alike",
    "nowhere.py:tiny",
    "../place/models.py:nobody",
    "/dev/zero:tiny",
    "pictures:tiny",
    "parity.toml:tiny",
    "torchvision:nobody",
    "torchvision:",
    "os:getcwd",
    "no.such.module:tiny",
    "a b:c",
    "x" * 5000 + ".py:tiny",
)


def _write(place: Path, content: bytes) -> None:
    (place / "evil.toml").write_bytes(content)


def _value(place: Path, key: str, value: str) -> None:
    lines = [line for line in SUITE.splitlines() if not line.startswith(key.rpartition(".")[2] + " =")]
    own = [line for line in lines if not line.startswith(("[models", "factory"))]
    model = [] if key == "models" else [line for line in lines if line.startswith(("[models", "factory"))]
    if key.startswith("models.tiny."):
        model.append(f"{key.removeprefix('models.tiny.')} = {value}")
    else:
        own.insert(0, f"{key} = {value}")
    _write(place, "\n".join([*own, *model, ""]).encode())


def _factory(place: Path, factory: str) -> None:
    _write(place, SUITE.replace("models.py:tiny", factory).encode())


def attacks() -> Iterator[Attack]:
    """Give every suite file to run."""
    for what, content in TEXTS.items():
        yield Attack(f"suites/{what}/run", RUN, partial(_write, content=content))
    for key, right in KEYS.items():
        for value in VALUES:
            if value not in right:
                yield Attack(f"suites/{key} = {value}/run", RUN, partial(_value, key=key, value=value))
    for factory in FACTORIES:
        yield Attack(f"suites/factory {factory[:30]}/run", RUN, partial(_factory, factory=factory))
    for what, place_it in SPECIAL.items():
        if what != "directory":  # whose parity.toml is read
            yield Attack(f"suites/{what}/run", RUN, partial(place_it, name="evil.toml"))
    yield Attack("suites/over-long name/run", ("parity", "run", "x" * 5000 + ".toml"))
    yield Attack("suites/of nobody/run", ("parity", "run", "nowhere.toml"))
