"""Describes a command line: its kind, inputs, outputs, and the hosts on which it may run. Pure.

Imports values only.
"""
