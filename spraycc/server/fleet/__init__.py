"""Executors: how they are started, how they prove themselves, and the connection to each.

May import host, coherence, tasks and writeback.
"""
