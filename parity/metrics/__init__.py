"""What is measured of a model's outputs, one package for each task; parity/core/metric.py says what a metric is."""
