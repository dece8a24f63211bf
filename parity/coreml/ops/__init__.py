"""Kernels of ML Program operations, one file per family as Apple names them; see registry.py."""
