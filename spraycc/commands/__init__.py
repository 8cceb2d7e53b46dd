"""What a command line is: its kind, inputs, outputs, and where it may run. Pure.

Imports values only.
"""
