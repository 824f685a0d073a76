"""Hostile bytes for every parser that reads what a device, a wire or another machine sent.

`python -m tests.fuzz NAME --runs N` searches with coverage guidance (atheris); `python -m tests.fuzz --list` names the
targets. A target may refuse an input with the errors that it declares; anything else is a finding.
"""
