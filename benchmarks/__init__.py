"""What SprayCC costs, measured. ``python -m benchmarks --help``."""
