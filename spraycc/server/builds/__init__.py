"""Open builds and the jobserver of each: FIFO, governor, and the watch over the processes that hold tokens.

May import host and tasks.
"""
