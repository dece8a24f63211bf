"""Small ML Programs with an image input, for tests."""

from __future__ import annotations

from typing import Any

from conversion.guards.quiet import chatter_to, import_coremltools

HEIGHT, WIDTH = 4, 6


def image_model(layout: str = "RGB", classes: tuple[Any, ...] = (), precision: str = "fp32") -> Any:
    """Convert a module that answers the image's mean per channel, as an array or as a classifier's probabilities.

    layout: RGB, BGR or GRAYSCALE. With classes, softmax of the means (one class per channel). Weights large enough
    to go into the weight file multiply by one.
    """
    import torch

    ct = import_coremltools()
    channels = 1 if layout == "GRAYSCALE" else 3

    class Means(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ones", torch.ones(1, channels, HEIGHT, WIDTH) / 64)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            means = (image * self.ones).mean((2, 3)) * 64
            return torch.softmax(means / 64, dim=1) if classes else means

    shape = (1, channels, HEIGHT, WIDTH)
    with chatter_to():
        return ct.convert(
            torch.jit.trace(Means().eval(), torch.zeros(shape)),
            inputs=[ct.ImageType("image", shape=shape, color_layout=getattr(ct.colorlayout, layout))],
            outputs=None if classes else [ct.TensorType("means")],
            classifier_config=ct.ClassifierConfig(list(classes)) if classes else None,
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
            skip_model_load=True,
        )
