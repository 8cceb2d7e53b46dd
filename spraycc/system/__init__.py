"""The operating system, as both the server and the executors use it: threads, signals, TLS, mounts, the file cache.

Imports values only.
"""
