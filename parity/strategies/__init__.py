"""Hypothesis strategies for those who test converted classifiers, their own or these packages'.

    from hypothesis import given
    from parity.strategies import input_shapes, refused_shapes

    FLOWERS = flowers()  # a Classifier
    FILE = convert(FLOWERS, "onnx", "build/", dynamic="size", bounds=((96, 96), (320, 320)))

    @given(shape=input_shapes(FILE))
    def test_every_shape_that_the_file_takes(shape):
        batch, _, height, width = shape
        for found in check(FLOWERS, FILE, "photos/", batch=batch, size=(height, width)).subjects:
            assert found.verdict == "skipped" or found.max_abs_diff <= found.tolerance, found

    @given(shape=refused_shapes(FILE))
    def test_every_other_shape_is_refused(shape):
        with pytest.raises(ParityError):
            run_shape(FILE, shape)

(Not assert_parity: photos that are stretched beyond what the network was trained for may all become one class,
which is inconclusive. Their probabilities must agree all the same.)

A failing example is printed as a shape, `shape=(3, 3, 96, 97)`, and shown again by one command:

    parity check flowers.py:flowers build/.../flowers.onnx --images photos --batch 3 --size 96x97
"""

from parity.strategies.images import MODES as MODES
from parity.strategies.images import ImageFile as ImageFile
from parity.strategies.images import bombs as bombs
from parity.strategies.images import images as images
from parity.strategies.labels import labels as labels
from parity.strategies.shapes import input_shapes as input_shapes
from parity.strategies.shapes import refused_shapes as refused_shapes
from parity.strategies.shapes import run_shape as run_shape

__all__ = ["MODES", "ImageFile", "bombs", "images", "input_shapes", "labels", "refused_shapes", "run_shape"]
