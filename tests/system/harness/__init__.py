"""Shared code of tests/system: sandboxes, small projects, and the build tools that are found or fetched."""
