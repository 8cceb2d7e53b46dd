"""Keeps the submit host's stamps, with which the server checks what executors' hosts have read.

``view`` is the table of stamps, ``watcher`` tells of changes through inotify, and ``tracker`` keeps the table true.
"""
