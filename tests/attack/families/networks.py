"""NeuralNetwork files that ask for what no machine has, never end, or are damaged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.attack.attack import ANY, NOT_GREEN, Attack
from tests.attack.families.images import SPECIAL

PREDICT = ("parity", "predict", "evil.mlmodel", "pictures/picture0.png")
CHECK = ("parity", "check", "models.py:tiny", "evil.mlmodel", "--images", "pictures", "--no-explain")


def _layers() -> Iterator[tuple[str, Callable[[Any], None]]]:
    """Name what makes a value of many gigabytes; each reads `image`, [1, 3, 32, 32], and gives `big`."""
    huge = 2**18
    yield "fillStatic", lambda b: b.add_fill_static("l", "big", output_shape=(huge, huge), value=0.5)
    yield "tile", lambda b: b.add_tile("l", "image", "big", reps=[1, 1, 2**13, 2**13])
    yield "upsample", lambda b: b.add_upsample("l", 2**14, 2**14, "image", "big", mode="NN")
    yield "padding", lambda b: b.add_padding("l", bottom=2**18, right=2**18, input_name="image", output_name="big")
    yield "rangeStatic", lambda b: b.add_range_static("l", "big", end=2**34, start=0, step=1)
    yield "broadcastToStatic", lambda b: b.add_broadcast_to_static("l", "image", "big", (2**26, 3, 32, 32))
    yield "oneHot", lambda b: b.add_one_hot("l", ["image"], "big", one_hot_vector_size=2**34)
    yield "randomNormalStatic", lambda b: b.add_random_normal_static("l", "big", (huge, huge), 0.0, 1.0, 1)
    yield (
        "constantPad",
        lambda b: b.add_constant_pad(
            "l", ["image"], "big", pad_to_given_output_size_mode=False, pad_amounts=[0, 0, 0, 0, 0, huge, 0, huge]
        ),
    )
    yield "resizeBilinear", lambda b: b.add_resize_bilinear("l", "image", "big", huge, huge)


def _build(name: str, place: Path) -> None:
    from tests.coreml.networks import specify

    def add(builder: Any) -> None:
        dict(_layers())[name](builder)
        builder.add_reduce_max("r", "big", "y", axes=None, keepdims=False, reduce_all=True)

    specification = specify(add, {"image": (1, 3, 32, 32)})
    (place / "evil.mlmodel").write_bytes(specification.SerializeToString())


def _loop(depth: int, place: Path) -> None:
    """Write loops in each other whose conditions are always true."""
    from tests.coreml.networks import specify

    def add(builder: Any) -> None:
        builder.add_copy("start", "image", "y")
        layers = builder.nn_spec.layers
        for level in range(depth):
            layer = layers.add()
            layer.name = f"loop{level}"
            layer.loop.maxLoopIterations = 99_990
            layer.loop.bodyNetwork.SetInParent()
            layers = layer.loop.bodyNetwork.layers
        inner = layers.add()
        inner.name, inner.unary.type = "abs", 6
        inner.input.append("y")
        inner.output.append("y")

    specification = specify(add, {"image": (1, 3, 32, 32)})
    (place / "evil.mlmodel").write_bytes(specification.SerializeToString())


def _cut(place: Path, share: float) -> None:
    whole = (place / "keep.mlmodel").read_bytes()
    (place / "evil.mlmodel").write_bytes(whole[: int(share * len(whole))])


def _flip(place: Path, seed: int) -> None:
    content, generator = bytearray((place / "keep.mlmodel").read_bytes()), random.Random(seed)
    for _ in range(8):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    (place / "evil.mlmodel").write_bytes(content)


def _labels(place: Path, change: Callable[[Any], None]) -> None:
    from conversion.guards.quiet import import_coremltools

    ct = import_coremltools()
    specification = ct.proto.Model_pb2.Model()
    specification.ParseFromString((place / "keep.mlmodel").read_bytes())
    change(specification.neuralNetworkClassifier)
    (place / "evil.mlmodel").write_bytes(specification.SerializeToString())


def _first_that_reads(network: Any) -> Any:
    return next(layer for layer in network.layers if layer.input)


CHANGES: dict[str, Callable[[Any], None]] = {
    "no labels": lambda n: n.ClearField("stringClassLabels"),
    "a label too few": lambda n: n.stringClassLabels.vector.pop(),
    "a label twice": lambda n: n.stringClassLabels.vector.__setitem__(0, n.stringClassLabels.vector[1]),
    "100 layers gone": lambda n: n.layers.__delitem__(slice(0, 2)),
    "no layers": lambda n: n.ClearField("layers"),
    "layers in a circle": lambda n: _first_that_reads(n).input.__setitem__(
        0, n.layers[len(n.layers) - 1].output[0]
    ),
    "weights gone": lambda n: [layer.convolution.ClearField("weights") for layer in n.layers] and None,
    "an unknown layer": lambda n: n.layers[0].ClearField(str(n.layers[0].WhichOneof("layer"))),
    "scale of NaN": lambda n: setattr(n.preprocessing.add().scaler, "channelScale", float("nan")),
    "scale of 1e38": lambda n: setattr(n.preprocessing.add().scaler, "channelScale", 1e38),
}


def attacks() -> Iterator[Attack]:
    """Give every network to predict and check."""
    for what, _ in _layers():
        yield Attack(f"networks/{what}/predict", PREDICT, partial(_build, what), NOT_GREEN)
    for depth in (1, 2, 4):
        words = (*PREDICT, "--time-limit", "60")
        yield Attack(
            f"networks/{depth} loops/predict", words, partial(_loop, depth), ANY - {0} if depth > 1 else ANY
        )
    for command, words in (("predict", PREDICT), ("check", CHECK)):
        for share in (0.0, 0.01, 0.5, 0.9, 0.99):
            yield Attack(f"networks/cut at {share:g}/{command}", words, partial(_cut, share=share), NOT_GREEN)
        for seed in range(8):
            yield Attack(f"networks/flipped bits {seed}/{command}", words, partial(_flip, seed=seed), ANY)
        for what, place_it in SPECIAL.items():
            yield Attack(f"networks/{what}/{command}", words, partial(place_it, name="evil.mlmodel"))
    for what, change in CHANGES.items():
        yield Attack(f"networks/{what}/check", CHECK, partial(_labels, change=change), NOT_GREEN)
