"""Tests of the TPM parser and verifier."""
