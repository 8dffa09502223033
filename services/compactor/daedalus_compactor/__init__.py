"""daedalus_compactor merges the small files of closed partitions into few large, sorted ones."""
