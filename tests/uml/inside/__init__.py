"""What runs inside User-Mode Linux: scenarios over the real sink and a kernel that has ESP."""
