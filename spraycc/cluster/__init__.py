"""One driver for each cluster manager: settings to command lines, what they print to values. Pure.

Imports values only.
"""
