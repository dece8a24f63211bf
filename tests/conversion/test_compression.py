"""Schemes and files of settings: what they stand for, and what target they need. test_variants.py converts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conversion import ConversionError
from conversion.compression import SCHEMES, read_compression
from conversion.guards.quiet import import_coremltools


def quantizer(dtype: str, **options: Any) -> dict[str, Any]:
    return {
        "config_type": "OpLinearQuantizerConfig",
        "global_config": {"mode": "linear_symmetric", "dtype": dtype, **options},
    }


def palette(bits: int) -> dict[str, Any]:
    return {"config_type": "OpPalettizerConfig", "global_config": {"mode": "kmeans", "nbits": bits}}


def pruner(share: float) -> dict[str, Any]:
    return {"config_type": "OpMagnitudePrunerConfig", "global_config": {"target_sparsity": share}}


@pytest.mark.parametrize(
    ("text", "settings", "target"),
    [
        ("int8", quantizer("int8"), "iOS16"),
        ("int4", quantizer("int4"), "iOS18"),
        ("int8-block32", quantizer("int8", granularity="per_block", block_size=32), "iOS18"),
        ("int4-block7", quantizer("int4", granularity="per_block", block_size=7), "iOS18"),
        *((f"palettize-{bits}bit", palette(bits), "iOS16") for bits in (1, 2, 4, 6, 8)),
        ("palettize-3bit", palette(3), "iOS18"),
        ("prune-50", pruner(0.5), "iOS16"),
        ("prune-12.5", pruner(0.125), "iOS16"),
    ],
)
def test_a_scheme_stands_for_settings_of_coremltools(text: str, settings: dict[str, Any], target: str) -> None:
    import_coremltools()
    from coremltools.optimize.coreml import OptimizationConfig

    compression = read_compression(text)

    assert compression.settings == settings
    assert compression.needs[0] == target
    assert compression.digest == ""
    OptimizationConfig.from_dict(json.loads(json.dumps(settings)))


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("int9", "int8"),
        ("int5", "int4"),
        ("int16", "int8"),
        ("int4-block0", "int4-block1"),
        ("int8_block32", "int8-block32"),
        ("INT8", "int8"),
        ("palettize-5bit", "palettize-4bit"),
        ("palettize-16bit", "palettize-8bit"),
        ("palettise-4bit", "palettize-4bit"),
        ("palette-6bit", "palettize-6bit"),
        ("prune-0", "prune-1"),
        ("prune-100", "prune-99"),
        ("prune50", "prune-50"),
    ],
)
def test_what_is_no_scheme_names_the_nearest(text: str, near: str) -> None:
    with pytest.raises(ConversionError) as refused:
        read_compression(text)
    said = str(refused.value)

    assert said.startswith(f"unknown compression `{text}`; did you mean {near}? (there are: int8, int4; ")
    assert "\n" not in said
    assert read_compression(near).text == near


def test_what_is_like_nothing_lists_all() -> None:
    with pytest.raises(ConversionError, match=r"unknown compression `zip` \(there are: .*coremltools.optimize"):
        read_compression("zip")


def test_the_examples_are_valid() -> None:
    assert all(read_compression(scheme.example) for scheme in SCHEMES)


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({"nbits": 4}, "iOS16"),
        ({"nbits": 4, "granularity": "per_grouped_channel", "group_size": 8}, "iOS18"),
        ({"nbits": 4, "cluster_dim": 2}, "iOS18"),
        ({"nbits": 4, "enable_per_channel_scale": True}, "iOS18"),
        ({"nbits": 3}, "iOS18"),
    ],
)
def test_a_file_of_settings_is_read_with_what_it_needs(
    settings: dict[str, Any], target: str, tmp_path: Path
) -> None:
    content = {"config_type": "OpPalettizerConfig", "op_type_configs": {"conv": settings, "linear": None}}
    (tmp_path / "settings.json").write_text(json.dumps(content), encoding="utf-8")

    compression = read_compression("settings.json", tmp_path)

    assert compression.settings == content
    assert compression.needs[0] == target
    (tmp_path / "settings.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    assert read_compression("settings.json", tmp_path).digest != compression.digest


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        ("a: [", "neither YAML nor JSON can be read there"),
        ("- 1", "holds no settings of coremltools.optimize"),
        ("global_config: {nbits: 4}", "a table with `config_type` (OpLinearQuantizerConfig, "),
        ("config_type: OpPaletizerConfig", "`OpPaletizerConfig`; did you mean OpPalettizerConfig?"),
        (
            "config_type: OpPalettizerConfig\nop_type_configs: {conv: {config_type: OpLinearQuantizerConfig}}",
            "mixes linear_quantize_weights and palettize_weights",
        ),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_in_a_line(content: str | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ConversionError) as refused:
        read_compression("x.yaml", tmp_path)

    assert str(refused.value).startswith(f"{tmp_path / 'x.yaml'}: ")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
