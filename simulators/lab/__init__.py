"""The lab: simulated fleets, the demo, and attacks on them. Nothing imports it."""
