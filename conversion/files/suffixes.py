"""By which endings files are known."""

from __future__ import annotations

# What a directory or a glob is searched for. HEIC is what phones save and Pillow cannot read: it is found
# all the same, because a photo that is passed over in silence is a photo that was never checked.
IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
MODEL_SUFFIXES = (".onnx", ".mlmodel", ".mlpackage", ".aimodel")
COMPILED_SUFFIX = ".mlmodelc"
