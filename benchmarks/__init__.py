"""Measures the cost of SprayCC. ``python -m benchmarks --help``."""
