"""Child processes: kept running, measured, and ended in good order."""
