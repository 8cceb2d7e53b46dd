"""Tasks: phase and attempts, capture, needed tool chain, and the build's record and history of durations.

May import host and coherence.
"""
