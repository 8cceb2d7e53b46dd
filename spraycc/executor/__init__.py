"""The executor: runs one command after another on a host of the cluster, and sends back what each produced.

Imports spraycc.wire, spraycc.system and spraycc.landmarks: hundreds of executors load it at once.
"""
