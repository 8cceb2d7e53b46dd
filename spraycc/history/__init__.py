"""Durations and memory of earlier tasks: the estimates, and their file.

Imports values only.
"""
