"""Scripts: the Python runner for installations without a C compiler, and recipe-shell, the shell of --wrap-shell.

The native runner is in spraycc/native/runner/.

Imports values only.
"""
