"""Node agent: captures, biometrics, sealed profiles, attestation, key sinks, and its command line."""
