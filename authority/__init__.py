"""Trust Authority and Key Orchestration Service."""
