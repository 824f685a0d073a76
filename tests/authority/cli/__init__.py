"""The command line, in this process and against a real operator plane."""
