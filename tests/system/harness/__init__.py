"""What all tests of tests/system share: sandboxes, small projects, and the build tools that are found or fetched."""
