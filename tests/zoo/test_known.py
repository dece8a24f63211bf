"""What converters still refuse, or get wrong, of what conversion/respellings.py spells for them.

The day one converts it, its respelling can go.
"""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.formats.coreai.runtime import Session
from tests.conversion.needs import needs_coreai
from tests.conversion.test_respellings import CASES, Through, whole

UNFOLD = ("op 'unfold' not implemented", "Unsupported fx node unfold")
RANK = ("only supports tensors with rank <= 5",) * 2
REFUSALS = {
    "windows": UNFOLD,
    "windows of both axes": UNFOLD,
    "blocks": ("Only supports stride >= kernel_size for col2im",) * 2,
    "places": ("updates tensor should have shape", "must have the same data type as the named input `x`"),
    "windowed attention": RANK,
    "placed attention": RANK,
    "shares": RANK,
    "products": RANK,
    "rows": RANK,
}


def test_each_is_known() -> None:
    assert set(REFUSALS) == set(CASES)


@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize("case", CASES)
def test_coremltools_alone_refuses_it(case: str, frontend: str, tmp_path: Path) -> None:
    ct = import_coremltools()
    operation, sizes = CASES[case]
    module, values = Through(operation).eval(), whole(*sizes)
    settings: dict[str, Any] = {}
    with torch.no_grad(), chatter_to(tmp_path / "log"):
        if frontend == "trace":
            program: Any = torch.jit.trace(module, values, check_trace=False)
            settings["inputs"] = [ct.TensorType(name="values", shape=sizes)]
        else:
            program = torch.export.export(module, (values,)).run_decompositions({})

        reason = ""
        try:
            ct.convert(
                program,
                convert_to="mlprogram",
                compute_precision=ct.precision.FLOAT32,
                skip_model_load=True,
                **settings,
            )
        except (NotImplementedError, ValueError) as error:
            reason = str(error)
        # What it leaves behind when it fails, directories among it, must not be cleaned up under another test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    assert REFUSALS[case][frontend == "export"] in reason


def test_onnxscript_alone_refuses_attention_of_five_axes(tmp_path: Path) -> None:
    parts = torch.ones(2, 1, 4, 16, 8)
    attend = Through(lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x)).eval()

    with chatter_to(tmp_path / "log"), pytest.raises(torch.onnx.errors.OnnxExporterError) as caught:
        torch.onnx.export(attend, (parts,), dynamo=True, verbose=False)

    assert "only 4D query, key, and value are supported" in str(caught.value)


@needs_coreai
def test_coreai_torch_alone_refuses_the_average_of_all_where_channels_come_last() -> None:
    last = torch.ones(1, 3, 4, 4).to(memory_format=torch.channels_last)

    with pytest.raises(ValueError, match=r"unsupported ATen ops: aten\.as_strided"):
        core_ai(torch.nn.AdaptiveAvgPool2d(1), last)


@needs_coreai
def test_coreai_torch_alone_counts_padding_that_does_not_count(tmp_path: Path) -> None:
    """So that of ones a corner is less than one."""
    pool, image = torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False), torch.ones(1, 1, 5, 5)
    core_ai(pool, image).save_asset(tmp_path / "pool.aimodel")

    answer = Session(tmp_path / "pool.aimodel").run({"image": image.numpy()})["output"]

    assert float(pool(image)[0, 0, 0, 0]) == 1
    assert float(answer[0, 0, 0, 0]) == pytest.approx(4 / 9)


@needs_coreai
def test_coreai_torch_alone_fails_at_averages_with_ceil_mode() -> None:
    with pytest.raises(IndexError):
        core_ai(torch.nn.AvgPool2d(2, 2, ceil_mode=True), torch.ones(1, 1, 5, 5))


def core_ai(module: torch.nn.Module, image: torch.Tensor) -> Any:
    """Convert by coreai-torch, with nothing spelled anew."""
    with torch.no_grad(), chatter_to(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coreai_torch

        program = torch.export.export(module.eval(), (image,))
        converter = coreai_torch.TorchConverter()
        converter.add_exported_program(
            program.run_decompositions(coreai_torch.get_decomp_table()),
            input_names=["image"],
            output_names=["output"],
        )
        return converter.to_coreai()
