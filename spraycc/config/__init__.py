"""Configuration: the keys, the sources of values, and the values in force."""

from spraycc.config.load import Loaded, load

__all__ = ["Loaded", "load"]
