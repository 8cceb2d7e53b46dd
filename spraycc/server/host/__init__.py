"""The submit host, as the server uses it: its sockets, processes, threads, memory, addresses and temporary names.

Imports nothing of the server's other rooms.
"""
