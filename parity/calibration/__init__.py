"""Tolerances proposed from what innocent computations cost on the user's images."""
