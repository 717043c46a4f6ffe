"""The servers under test: one process each, so that its CPU and memory can be read from /proc."""
