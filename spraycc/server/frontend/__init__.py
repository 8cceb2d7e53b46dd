"""What comes in by the Unix socket: runners with their tasks, and the command line with builds, status and stop.

May import host, tasks, builds and the dispatcher.
"""
