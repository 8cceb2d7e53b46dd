"""The command line: builds, and the subcommands. Each subcommand is imported when it is called.

No other package imports this one.
"""
