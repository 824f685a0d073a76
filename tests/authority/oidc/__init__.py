"""Tests of operators of an identity provider."""
