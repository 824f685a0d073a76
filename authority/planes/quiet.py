"""No telemetry: requests carry join tokens, tickets and PINs, and nothing of them may leave by another way."""

from fastapi.telemetry import TelemetryConfig

NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)
"""Switches off what FastAPI has by itself, whatever the environment asks for."""
