"""The messages between runner, server and executor, their frames and their grammar. Pure.

Imports values only.
"""
