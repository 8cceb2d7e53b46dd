"""The GNU make jobserver: MAKEFLAGS, the FIFO, the account of tokens, and the governor that sets their number.

Pure except for fifo.py and descriptor.py. Imports values only.
"""
