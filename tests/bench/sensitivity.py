"""Which networks does hardware move most? Architectures trained on the digits, each with its envelope.

    architecture, seed --train--> weights --convert--> fp16 ML Program --arithmetics--> how far answers move

Printed is a line for each architecture: how many held-out digits it names right, then, for some arithmetics, the
largest |dp|, how far the logits move, as a share of their size (L2, centred), which is what reports of devices
give, and how many times as far as mobilenet_v2's. Where several seeds were trained a number is the median of them.
What was measured is kept in .parity/sensitivity.jsonl, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "fixtures"))

from models import DIGITS_PREPROCESSING  # noqa: E402
from train_digits import digit_picture  # noqa: E402

from conversion import Classifier, convert  # noqa: E402
from conversion.guards.torchvision_guard import torchvision  # noqa: E402
from conversion.images import to_pixels  # noqa: E402
from parity.envelope.arithmetics import chosen  # noqa: E402
from parity.envelope.running import open_variable  # noqa: E402

# The two that are known to differ on a device, and twelve others; so many epochs of training.
PAIR = ("mobilenet_v3_small", "mobilenet_v2")
EPOCHS = {
    **dict.fromkeys(PAIR, 8),
    **dict.fromkeys(("mobilenet_v3_large", "shufflenet_v2_x1_0"), 8),
    **dict.fromkeys(("resnet18", "resnet34", "densenet121"), 5),
    # With as few as those these name too few right.
    **dict.fromkeys(("efficientnet_b0", "regnet_x_400mf", "regnet_y_400mf", "shufflenet_v2_x0_5"), 16),
    **dict.fromkeys(("squeezenet1_1", "mnasnet0_5", "mnasnet1_0"), 48),
}
# The two that `parity envelope` takes by itself, and what tells where they come from; the table shows the first.
ARITHMETICS = ("neural-engine", "coarse", "sums-32", "table-4", "knots-33", "knots-33-wide")
SHOWN = ARITHMETICS[:3]
# A network that names fewer right has not learnt, and what moves it says nothing.
LEARNT = 0.95
LABELS = tuple("0123456789")
PREPROCESSING = replace(DIGITS_PREPROCESSING, size=(32, 32), resize=(32, 32))
BATCH, PICTURES = 48, 64


@dataclass(frozen=True)
class Moved:
    """Say how far an arithmetic moves answers: |dp| at most and in the mean of pictures, and the logits' share."""

    largest: float
    mean: float
    logits: float
    other_labels: float


@dataclass(frozen=True)
class Measured:
    """Hold what one trained network came to; moved: by the names of arithmetics."""

    architecture: str
    seed: int
    right: float
    moved: dict[str, Moved]
    seconds: float


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Draw the scanned digits as pixels, uint8 [N, 32, 32, 3], with what they show."""
    import sklearn.datasets

    scans = sklearn.datasets.load_digits()
    pixels = np.stack([to_pixels(digit_picture(scan), PREPROCESSING) for scan in scans.images])
    return pixels, scans.target


def normalised(pixels: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(n).reshape(3, 1, 1) for n in (PREPROCESSING.mean, PREPROCESSING.std))
    return ((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std).contiguous()


def train(architecture: str, seed: int, images: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
    torch.manual_seed(seed)
    module: torch.nn.Module = torchvision().models.get_model(architecture, num_classes=len(LABELS))
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 0.1  # mobilenet_v3's own statistics would lag behind so short a training
    epochs, steps = EPOCHS[architecture], len(labels) // BATCH
    # Without a norm the steps must be small.
    rate = 3e-4 if architecture.startswith("squeezenet") else 3e-3
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=epochs * steps)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(epochs):
        for part in torch.randperm(len(labels))[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            criterion(module(images[part]), labels[part]).backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def measure(architecture: str, seed: int, directory: Path) -> Measured:
    """Train, convert and compute in each arithmetic; the digits that are held out are the same for all."""
    begun = time.perf_counter()
    pixels, shown = digits()
    order = np.random.default_rng(0).permutation(len(shown))
    held, training = order[:360], order[360:]
    module = train(architecture, seed, normalised(pixels[training]), torch.from_numpy(shown[training]))
    with torch.inference_mode():
        right = float((module(normalised(pixels[held])).argmax(1).numpy() == shown[held]).mean())
    classifier = Classifier(f"{architecture}_{seed}", module, PREPROCESSING, LABELS)
    opened = open_variable(convert(classifier, "mlprogram", directory))
    base, *others = opened.predict([opened.variant(one) for one in chosen(ARITHMETICS)], pixels[held[:PICTURES]])
    moved = {
        name: how_far(base.probabilities, other.probabilities)
        for name, other in zip(ARITHMETICS, others, strict=True)
    }
    return Measured(architecture, seed, right, moved, time.perf_counter() - begun)


def how_far(before: np.ndarray, after: np.ndarray) -> Moved:
    """Compare probabilities [pictures, classes]."""
    apart = np.abs(after - before).max(1)
    was, now = logits(before), logits(after)
    share = float(np.linalg.norm(now - was) / np.linalg.norm(was))
    other = float((before.argmax(1) != after.argmax(1)).mean())
    return Moved(float(apart.max()), float(apart.mean()), share, other)


def logits(probabilities: np.ndarray) -> np.ndarray:
    """Return what softmax was of, the mean of each row at zero; the labels' smoothing keeps all above zero."""
    rows = np.log(np.maximum(probabilities.astype(np.float64), 2.0**-24))
    centred: np.ndarray = rows - rows.mean(1, keepdims=True)
    return centred


def table(found: Sequence[Measured]) -> str:
    """Write the table, what moves most under the second arithmetic first."""
    by_name: dict[str, list[Measured]] = {}
    for one in found:
        by_name.setdefault(one.architecture, []).append(one)

    def middle(name: str, arithmetic: str, key: str) -> float:
        return median(float(getattr(one.moved[arithmetic], key)) for one in by_name[name])

    yardstick = {a: middle(PAIR[1], a, "logits") if PAIR[1] in by_name else float("nan") for a in SHOWN}
    heads = " | ".join(f"{a}: max abs dp | logits | against mobilenet_v2" for a in SHOWN)
    lines = [f"| architecture | seeds | right | {heads} |", f"|---|{'--:|' * (2 + 3 * len(SHOWN))}"]
    for name in sorted(by_name, key=lambda name: -middle(name, SHOWN[1], "logits")):
        right = median(one.right for one in by_name[name])
        cells = " | ".join(
            f"{middle(name, a, 'largest'):.1e} | {middle(name, a, 'logits'):.2%} | "
            f"{middle(name, a, 'logits') / yardstick[a]:.1f}"
            for a in SHOWN
        )
        unlearnt = "" if right >= LEARNT else ", has not learnt"
        lines.append(f"| {name} | {len(by_name[name])} | {right:.1%}{unlearnt} | {cells} |")
    return "\n".join(lines)


def read(line: str) -> Measured:
    fields = json.loads(line)
    return Measured(**fields | {"moved": {name: Moved(**one) for name, one in fields["moved"].items()}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of the two that are known to differ; one of others")
    parser.add_argument("--only", nargs="*", default=list(EPOCHS))
    arguments = parser.parse_args()
    kept = ROOT / ".parity" / "sensitivity.jsonl"
    kept.parent.mkdir(exist_ok=True)
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    found = [read(line) for line in lines]
    wanted = [(name, seed) for seed in range(arguments.seeds) for name in PAIR]
    wanted += [(name, 0) for name in EPOCHS if name not in PAIR]
    for name, seed in wanted:
        if name not in arguments.only or any((one.architecture, one.seed) == (name, seed) for one in found):
            continue
        found.append(measure(name, seed, ROOT / ".parity"))
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found[-1])) + "\n")
        print(found[-1], flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
