"""Completion scripts and man pages, generated from the table of commands and options (cli/option_table.py).

The build hook writes them into the wheel, and ``spraycc completion`` prints a script. All modules but ``__main__`` are
pure: a table gives a text.
"""
