"""The wire contract between node agents and the authority: messages, bytes to sign, key schedule, error codes."""
