"""What `tools/boot-packages` runs inside the machine that it boots."""
