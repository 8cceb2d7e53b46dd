"""Shows figures on a terminal: the summary line and the status. Pure: maps in, text out.

Imports spraycc.wire and values.
"""
