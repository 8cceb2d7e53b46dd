"""The command line: builds, and the subcommands. Each subcommand is imported when it is called.

Imports whatever it needs; nothing imports it.
"""
