"""What a run came to: everything that was sent is stored, declared as a gap, or missing."""
