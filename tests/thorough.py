"""THOROUGH: what `make test` leaves to `make test-all`, and why. A path stands for all that is below it.

A single test is `path::function`.

`make test` is the inner loop of somebody who changes a thing, and takes minutes. Whoever changes what a path below
is about runs that path too. CI runs everything.
"""

from __future__ import annotations

from collections.abc import Mapping

_ENVIRONMENT = "builds an environment, or uses other versions of converters"
_PROCESSES = "starts processes that load PyTorch, or a pytest inside pytest, seconds each"
_NETWORKS = "converts and searches whole networks, seconds to a minute each"
_SHAPES = "property tests that convert or decode for every example"

THOROUGH: Mapping[str, str] = {
    "fixtures/parity.toml": "is what `make run` does",
    "tests/attack/test_sample.py": _PROCESSES,
    "tests/conformance": "runs a sample of Apple's own tests",
    "tests/conversion/fingerprint/test_reach.py": _PROCESSES,
    "tests/conversion/guards/test_quiet.py": _PROCESSES,
    "tests/conversion/guards/test_torch_defaults.py": _NETWORKS,
    "tests/conversion/guards/test_torchvision_guard.py": _PROCESSES,
    "tests/conversion/test_limits.py": _NETWORKS,
    "tests/conversion/test_provenance.py::test_another_process_finds_the_same_hashes": _PROCESSES,
    "tests/conversion/test_provenance.py::test_any_text_is_a_label_in_every_format": _SHAPES,
    "tests/conversion/test_routes.py::test_a_fresh_interpreter_prints_nothing_either": _PROCESSES,
    "tests/conversion/test_routes.py::test_two_processes_at_once_convert_once": _PROCESSES,
    "tests/coreml/reading/test_neuralnetwork.py": _NETWORKS,
    "tests/coreml/test_fuzz.py": _PROCESSES,
    "tests/coreml/test_torchvision_models.py": _NETWORKS,
    "tests/faults": _NETWORKS,
    "tests/parity/backends/test_limited.py": _PROCESSES,
    "tests/parity/commands/test_user_code.py": _PROCESSES,
    "tests/parity/diagnosis/suspects/test_compression.py": _NETWORKS,
    "tests/parity/diagnosis/suspects/test_operation_settings.py": _NETWORKS,
    "tests/parity/diagnosis/suspects/test_operations.py": _NETWORKS,
    "tests/parity/diagnosis/suspects/test_pixels.py": _NETWORKS,
    "tests/parity/diagnosis/suspects/test_precision.py": _NETWORKS,
    "tests/parity/diagnosis/test_compression_trained.py": _NETWORKS,
    "tests/parity/diagnosis/test_fixes.py": _NETWORKS,
    "tests/parity/diagnosis/test_locate.py": _NETWORKS,
    "tests/parity/diagnosis/test_precision.py": _NETWORKS,
    "tests/parity/diagnosis/test_real_collision.py": _ENVIRONMENT,
    "tests/parity/diagnosis/test_weights.py": _NETWORKS,
    "tests/parity/plugin": _PROCESSES,
    "tests/parity/report/test_html_in_chromium.py": "needs a browser",
    "tests/parity/strategies": _SHAPES,
    "tests/parity/stream/test_decoding.py": _PROCESSES,
    "tests/parity/stream/test_running.py": _PROCESSES,
    "tests/parity/test_heads.py::test_each_agrees_by_each_route": _NETWORKS,
    "tests/parity/test_injected_faults.py": _NETWORKS,
    "tests/parity/test_real_toolchains.py": _ENVIRONMENT,
    "tests/parity/versions/test_known_bad.py::test_what_is_installed_is_as_the_file_says": _NETWORKS,
    "tests/parity/versions/test_known_bad_releases.py": _ENVIRONMENT,
    "tests/parity/versions/test_toolchain_environment.py": _ENVIRONMENT,
    "tests/parity/versions/test_toolchains.py": _ENVIRONMENT,
    "tests/parity/versions/test_upgrade_runtime.py": _ENVIRONMENT,
    "tests/zoo/test_zoo.py": _NETWORKS,
    "tests/test_docs.py": "runs every command of the guides",
    "tests/test_walkthrough.py": _ENVIRONMENT,
}
