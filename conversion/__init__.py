"""Convert a PyTorch image classifier to what ships: ONNX, ML Program, NeuralNetwork.

Classifier --convert(route)--> Artifact
"""

from conversion.artifact import Artifact as Artifact
from conversion.artifact import open_artifact as open_artifact
from conversion.classifier import Classifier as Classifier
from conversion.classifier import Model as Model
from conversion.classifier import Preprocessing as Preprocessing
from conversion.errors import ConversionError as ConversionError
from conversion.errors import ImageError as ImageError
from conversion.guards.torchvision_guard import watch as _watch
from conversion.routes import ROUTES as ROUTES
from conversion.routes import convert as convert
from conversion.task import OutputSpec as OutputSpec
from conversion.task import Task as Task

# Here, because all that loads a user's file comes through here first.
_watch()

__all__ = [
    "ROUTES",
    "Artifact",
    "Classifier",
    "ConversionError",
    "ImageError",
    "Model",
    "OutputSpec",
    "Preprocessing",
    "Task",
    "convert",
    "open_artifact",
]
