"""Configuration: what may be set, and what is."""

from spraycc.config.load import Loaded, load

__all__ = ["Loaded", "load"]
