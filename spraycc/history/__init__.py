"""What tasks took the last times: the estimates, and the file in which they are kept.

Imports values only.
"""
