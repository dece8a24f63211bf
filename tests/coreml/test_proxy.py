"""patch_coremltools: MLModel.predict works here, and coremltools' own checks and errors stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.coreml import patch_coremltools
from tests.coreml.image_models import HEIGHT, WIDTH, image_model

ct = import_coremltools()
RED = Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("package") / "tiny.mlpackage"
    image_model(classes=("red", "green", "blue")).save(str(path))
    return str(path)


def test_predict_works_inside_and_not_after(package: str) -> None:
    before = ct.models.model._MLModelProxy
    with patch_coremltools():
        model = ct.models.MLModel(package)

        assert model.predict({"image": RED})["classLabel"] == "red"

    assert ct.models.model._MLModelProxy is before


def test_called_plainly_it_stays(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MLModelProxy", "_is_macos", "_macos_version"):  # put back at the end of the test
        monkeypatch.setattr(ct.models.model, name, None)

    patch_coremltools()

    assert ct.models.MLModel(package).predict({"image": RED})["classLabel"] == "red"


def test_a_list_predicts_a_list(package: str) -> None:
    with patch_coremltools():
        found = ct.models.MLModel(package).predict([{"image": RED}, {"image": RED}])

    assert [f["classLabel"] for f in found] == ["red", "red"]


def test_a_model_that_was_just_converted_predicts() -> None:
    with patch_coremltools(), chatter_to():
        found = ct.models.MLModel(image_model().get_spec(), weights_dir=image_model().weights_dir).predict(
            {"image": RED}
        )

    np.testing.assert_allclose(found["means"], [[200, 100, 50]], rtol=1e-6)


def test_coremltools_own_checks_stay(package: str) -> None:
    with patch_coremltools():
        model = ct.models.MLModel(package)

        with pytest.raises(KeyError, match="does not match any of the model input"):
            model.predict({"picture": RED})
        with pytest.raises(TypeError, match="must be either a dict or list of dict"):
            model.predict("image")


def test_a_wrong_image_size_is_a_runtime_error_as_apples(package: str) -> None:
    with patch_coremltools(), pytest.raises(RuntimeError, match="images of 6 x 4"):
        ct.models.MLModel(package).predict({"image": RED.resize((9, 9))})


def test_a_model_that_cannot_run_warns_on_load_and_raises_on_predict(tmp_path: Path) -> None:
    spec = ct.proto.Model_pb2.Model()
    spec.specificationVersion = 1
    spec.identity.SetInParent()
    ct.utils.save_spec(spec, str(tmp_path / "odd.mlmodel"))

    with patch_coremltools():
        with pytest.warns(RuntimeWarning, match="a model of type identity"):
            model = ct.models.MLModel(str(tmp_path / "odd.mlmodel"))
        with pytest.raises(RuntimeError, match="a model of type identity"):
            model.predict({})
