"""One driver for each cluster manager: makes command lines from settings, and values from their output. Pure.

Imports values only.
"""
