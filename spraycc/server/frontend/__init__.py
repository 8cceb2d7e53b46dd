"""Peers of the Unix socket: runners with their tasks, and command lines with builds, status and stop.

May import host, tasks, builds, the dispatcher and lifetime.
"""
