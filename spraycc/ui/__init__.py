"""Shows figures: the summary line and the status on a terminal, a build as a page. Pure: maps and records in, text out.

Imports spraycc.records, spraycc.wire and values.
"""
