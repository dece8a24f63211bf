"""Core ML file -> plain data: the messages of its specification, read and checked."""
