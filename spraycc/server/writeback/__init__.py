"""Writes results to the disk: collects an attempt's files while they arrive, then puts all of them in place.

May import host.
"""
