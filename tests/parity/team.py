"""A team's own conversion of the tiny classifier, as a callable and as a command."""

from __future__ import annotations

from pathlib import Path

from tests.parity.commands.command import lay_out

# Written as a team would: nothing of this package, and a name of its own for the input.
TOOLS = """
import torch
from scaling import FACTOR

class Shipped(torch.nn.Module):
    def __init__(self, module, preprocessing):
        super().__init__()
        self.module = module
        self.mean = torch.tensor(preprocessing.mean).reshape(3, 1, 1)
        self.std = torch.tensor(preprocessing.std).reshape(3, 1, 1)

    def forward(self, image):
        return torch.softmax(FACTOR * self.module((image / 255 - self.mean) / self.std), 1)

def convert(module, example, preprocessing, path):
    shipped = Shipped(module, preprocessing).eval()
    names = {"input_names": ["photo"], "output_names": ["probabilities"], "dynamic_axes": {"photo": {0: "n"}}}
    torch.onnx.export(shipped, (example,), str(path), opset_version=17, dynamo=False, **names)
"""
COMMAND = """
import sys
import torch
import models
from tools import convert

classifier = models.tiny()
classifier.module.load_state_dict(torch.load(sys.argv[1]))
size = (1, 3, *classifier.preprocessing.size)
convert(classifier.module, torch.rand(size), classifier.preprocessing, sys.argv[2])
"""
SUITE = """
images = ["photos/*.png"]

[converters.ship]
convert = "tools.py:convert"
suffix = ".onnx"

[converters.by-command]
command = ["python", "to_onnx.py", "{weights}", "{output}"]
suffix = ".onnx"
depends = ["tools.py", "scaling.py"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript", "ship", "by-command"]
"""


def lay_out_team(directory: Path) -> Path:
    """Write what the team has: models, photos, its conversion, and a suite file that names it."""
    lay_out(directory, SUITE)
    (directory / "tools.py").write_text(TOOLS, encoding="utf-8")
    (directory / "scaling.py").write_text("FACTOR = 1.0\n", encoding="utf-8")
    (directory / "to_onnx.py").write_text(COMMAND, encoding="utf-8")
    return directory
