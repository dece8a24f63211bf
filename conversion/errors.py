"""What `conversion` raises when a model, its labels or an image cannot be used."""


class ConversionError(Exception):
    """Say in one line what was asked, what was found, what is allowed and how to fix it."""


class ImageError(ConversionError):
    """The file is not an image that can be shown to a classifier."""


class NotInstalledError(ConversionError):
    """A package that is optional is missing, or is of another version: nothing is said against the model."""
