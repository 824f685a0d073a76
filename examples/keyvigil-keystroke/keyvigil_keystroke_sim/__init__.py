"""A simulated PS/2 keyboard behind a serial line, and people who type on it. It shares no code with the driver."""
