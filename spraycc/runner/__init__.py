"""Scripts: the Python runner for installations without a C compiler, and recipe-shell, which the shims install.

The native runner is in spraycc/native/runner/.

Imports values only.
"""
