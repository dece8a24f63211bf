"""Kernels of NeuralNetwork layers, one file per family; see registry.py."""
