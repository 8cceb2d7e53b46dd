"""Decides which task runs when and where: events in, actions out. Pure: no clock, no IO.

Imports values only.
"""
