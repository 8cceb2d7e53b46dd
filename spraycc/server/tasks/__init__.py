"""One task: its record, what is captured of it, which tool chain it needs, and what is remembered of it afterwards.

May import host and coherence.
"""
