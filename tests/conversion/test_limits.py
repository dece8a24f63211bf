"""What a route cannot hold: operations whose errors advise to change what the route fixes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from conversion import ROUTES, ConversionError, convert
from conversion.limits import limit_of, told_limit
from parity import check
from parity.versions.toolchain_environment import ToolChainFailure
from tests.conversion.classifiers import tiny

PHOTOS = Path(__file__).parents[2] / "fixtures" / "images" / "photos"
# What nobody who converts by a route can do.
UNFOLLOWABLE = (
    "try exporting",
    "try opset",
    "Try exporting",
    "try converting",
    "deployment_target",
    "pull request",
)


class Through(torch.nn.Module):
    """Put an operation between a convolution and the classes."""

    def __init__(self, operation: Callable[[Any], Any]) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3)
        self.operation = operation

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.operation(self.stem(image))).flatten(2).mean(-1)


def attended(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2)
    return functional.scaled_dot_product_attention(tokens, tokens, tokens)


def sampled(x: torch.Tensor) -> torch.Tensor:
    lines = torch.linspace(-1, 1, 5)
    grid = torch.stack(torch.meshgrid(lines, lines, indexing="xy"), -1)[None].repeat(x.shape[0], 1, 1, 1)
    return functional.grid_sample(x, grid, align_corners=False)


def folded(x: torch.Tensor) -> torch.Tensor:
    return functional.fold(x.flatten(2)[:, :, :16].repeat(1, 4, 1), (8, 8), kernel_size=2, stride=2)


def bicubic(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, (9, 7), mode="bicubic", align_corners=False)


MODERN = "onnx, onnx-torchscript, mlprogram, mlprogram-fp32, mlprogram-export"


@pytest.mark.parametrize(
    ("route", "operation", "held", "able"),
    [
        # ONNX's own changelog has GridSample since 16, Round and CumSum since 11, Col2Im since 18.
        ("onnx-coreml", attended, "opset 9 cannot hold aten::scaled_dot_product_attention", MODERN),
        (
            "onnx-coreml",
            sampled,
            "opset 9 cannot hold aten::grid_sampler (the exporter writes it from opset 16 on)",
            MODERN,
        ),
        (
            "onnx-coreml",
            torch.round,
            "opset 9 cannot hold aten::round (the exporter writes it from opset 11 on)",
            MODERN,
        ),
        (
            "onnx-coreml",
            lambda x: torch.cumsum(x, 1),
            "opset 9 cannot hold cumsum (the exporter writes it from opset 11 on)",
            MODERN,
        ),
        (
            "onnx-torchscript",
            folded,
            "opset 17 cannot hold aten::col2im (the exporter writes it from opset 18 on)",
            "onnx, mlprogram, mlprogram-fp32, mlprogram-export",
        ),
        (
            "onnx-torchscript",
            torch.linalg.inv,
            "the TorchScript exporter cannot write aten::linalg_inv in opset 17",
            "onnx, mlprogram, mlprogram-fp32, mlprogram-export",
        ),
        ("onnx-torchscript", lambda x: x * torch.histc(x).sum(), "cannot write aten::histc in opset 17", "onnx"),
        (
            "onnx-torchscript",
            lambda x: functional.adaptive_avg_pool2d(x, 7),
            "the TorchScript exporter cannot write adaptive_avg_pool2d, output size that are not factor",
            "onnx, mlprogram, mlprogram-fp32, mlprogram-export",
        ),
        (
            "mlprogram-export",
            lambda x: x * torch.histc(x).sum(),
            "coremltools cannot convert histc, which torch.export makes of the module",
            "onnx",
        ),
        (
            "mlprogram",
            lambda x: x * torch.histc(x).sum(),
            "coremltools cannot convert histc, which torch.jit.trace makes of the module",
            "onnx",
        ),
        (
            "mlprogram-fp32",
            bicubic,
            "coremltools cannot convert upsample_bicubic2d, which torch.jit.trace makes of the module",
            "onnx, mlprogram-export",
        ),
        ("onnx-coreml", lambda x: x * (x > 0).float(), "onnx-coreml cannot convert Greater for the iOS 12", MODERN),
    ],
)
def test_the_route_that_cannot_hold_an_operation_names_those_that_can(
    route: str, operation: Callable[[Any], Any], held: str, able: str, tmp_path: Path
) -> None:
    square = operation is torch.linalg.inv
    module = Through((lambda x: torch.linalg.inv(x + 50 * torch.eye(x.shape[-1]))) if square else operation)

    with pytest.raises(ConversionError) as caught:
        convert(tiny(module=module.eval()), route, tmp_path)

    message = str(caught.value)
    assert "\n" not in message
    assert f"tiny, route {route}: the conversion failed with" in message
    assert held in message
    assert f" without this limit: {able}; what the converters said is in " in message
    assert not any(advice in message for advice in UNFOLLOWABLE)


@pytest.mark.parametrize("operation", [sampled, torch.round])
def test_a_route_that_is_named_instead_does_convert(operation: Callable[[Any], Any], tmp_path: Path) -> None:
    classifier = tiny(module=Through(operation).eval())

    for route in MODERN.split(", "):
        assert convert(classifier, route, tmp_path).path.exists()


@pytest.mark.parametrize(
    ("operation", "route"),
    [
        (bicubic, "mlprogram-export"),
        (lambda x: torch.addcmul(x, x, x, value=0.5), "mlprogram-export"),
        (lambda x: torch.addcmul(x, x, x, value=0.5), "mlprogram-fp32"),
        (lambda x: x.addcmul(x, x), "mlprogram-fp32"),
        (lambda x: torch.addcdiv(x, x, 1 + x.square()), "mlprogram-export"),
    ],
)
def test_what_coremltools_lacks_is_spelled_as_pytorch_does_and_answers_alike(
    operation: Callable[[Any], Any], route: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = Through(operation).eval()
    module.stem.weight.data *= 4  # else every class has the same share
    classifier = tiny(module=module)

    run = check(classifier, convert(classifier, route, tmp_path), PHOTOS, ["coreml-evaluator"])

    (subject,) = run.subjects
    # Untrained, it gives one class to all photos.
    assert subject.verdict in ("pass", "inconclusive")
    assert (subject.max_abs_diff or 0) < 5e-3


def test_every_form_of_the_converters_advice_is_read() -> None:
    asked = {
        # From torch 2.13's errors.py and symbolic_helper.py, and onnx_coreml 1.3's _error_utils.py.
        "Exporting the operator 'aten::tril' to ONNX opset version 9 is not supported. Support for this operator "
        "was added in version 14, try exporting with this version": ("aten::tril", 9, 14, ""),
        "Unsupported: ONNX export of index_put in opset 9. Please try opset version 11.": ("index_put", 9, 11, ""),
        "Unsupported: ONNX export of Pad in opset 9. The sizes of the padding must be constant. Please try opset "
        "version 11.": ("Pad", 9, 11, "The sizes of the padding must be constant"),
        "ONNX export failed on hann_window, which is not implemented for opset 9. Try exporting with other opset "
        "versions.": ("hann_window", 9, 0, ""),
        "ONNX node of type Shrink is not supported. \n Please try converting with higher "
        "minimum_ios_deployment_target.\nYou can also provide custom function/layer to convert the model.\n": (
            *("Shrink", 0, 0, ""),
        ),
        "Missing initializer error in op of type Conv, with input name = a, output name = b. Error message: kernel "
        "\n Please try converting with higher minimum_ios_deployment_target.": ("Conv", 0, 0, "kernel"),
    }

    for text, (operation, opset, since, why) in asked.items():
        limit = limit_of(text)
        assert limit is not None
        assert (list(limit.operations), limit.opset, limit.since, limit.why) == ([operation], opset, since, why)


def test_of_other_errors_and_of_a_route_that_leaves_the_opset_open_nothing_is_said() -> None:
    text = "Exporting the operator 'aten::tril' to ONNX opset version 9 is not supported"

    assert told_limit("no such file", ROUTES["onnx-coreml"], ROUTES) == ""
    assert told_limit(text, replace(ROUTES["onnx-coreml"], options={}), ROUTES) == ""
    assert told_limit(text, ROUTES["onnx-coreml"], {}).endswith("and no other route can either")


def test_a_tool_chain_whose_converter_advises_so_says_to_take_another_route() -> None:
    lines = ("TypeError: ONNX node of type Shrink is not supported.", " Please try converting with higher ")
    failure = ToolChainFailure("convert", (*lines, "minimum_ios_deployment_target.", "You can also provide custom"))

    assert str(failure) == (
        "convert: onnx-coreml cannot convert Shrink for the iOS 12 of the route; take another route"
    )
