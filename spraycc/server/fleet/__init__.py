"""Executors: starts them, lets them prove themselves, and keeps a connection to each.

May import host, coherence, tasks and writeback.
"""
