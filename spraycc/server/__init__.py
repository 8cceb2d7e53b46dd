"""The server: one process for each user, workspace and host. It serves builds, queues tasks and starts executors.

server.py puts the parts together. docs/explanation/architecture.md shows the rooms. A room may import only rooms
before it in this list: host, coherence, tasks, writeback, builds, task_table, fleet,
dispatcher, lifetime, frontend, server.
"""
