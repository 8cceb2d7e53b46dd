"""The Python runner, for installations without a C compiler. The native runner is in spraycc/native/runner/.

Imports values only.
"""
