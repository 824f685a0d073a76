"""Challenges answered by a real TPM."""
