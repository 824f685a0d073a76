"""Whole processes, driven from outside."""
