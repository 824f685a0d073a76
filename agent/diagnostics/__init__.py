"""Field diagnostics: what a person before a rack asks of a node, answered as findings with remedies.

One module per family of checks; each measures, then judges with plain functions over what was measured. Rendering knows
findings only. Nothing here keeps a sample: pictures and sound become numbers, and the numbers become findings.
"""

from agent.diagnostics.findings import EXIT_ERROR, EXIT_WARNING, Finding, Severity, exit_status, worst

__all__ = ["EXIT_ERROR", "EXIT_WARNING", "Finding", "Severity", "exit_status", "worst"]
