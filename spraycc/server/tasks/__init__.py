"""One task: its phase and attempts, its capture, the tool chain that it needs, its line in the record, its history.

May import host and coherence.
"""
