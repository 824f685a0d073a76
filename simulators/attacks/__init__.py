"""Presentation attacks as arrays: what an attacker makes of samples that somebody once gave, or of somebody else's.

Every function is pure: the same arguments and the same generator give the same attack. The seeds of the benchmarks that
count them are in `seeds`, fixed before anything was tuned against them.
"""
