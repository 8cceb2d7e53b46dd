"""The server: one process for each user and workspace. It serves builds, queues tasks, and has executors started.

server.py puts the parts together. docs/architecture.md shows the rooms; imports go from the last to the first of them:
host, coherence, tasks, writeback, builds, task_table, fleet, dispatcher, lifetime,
frontend, server.
"""
