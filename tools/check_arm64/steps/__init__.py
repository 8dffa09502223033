"""What runs in the emulated machine, each a program of its own."""
