"""Is the recording whole? Its gaps, and a ledger of every number of each market's sequence, from the data itself."""
