"""Tests that need a V4L2 node; `test_v4l2_under_umockdev.py` runs them in a process that sees one."""
