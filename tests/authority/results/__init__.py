"""Tests of attestation results for subscribers and relying parties."""
