"""The way of results to the disk: collected while they arrive, then put in place as a whole.

May import host.
"""
