"""The executor: runs one command after another on a host of the cluster, and sends back the files and output of each.

Imports spraycc.wire, spraycc.system and values only, because hundreds of executors load it at once.
"""
