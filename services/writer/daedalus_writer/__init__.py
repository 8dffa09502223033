"""daedalus_writer turns streams into Parquet, exactly once: it alone writes Bronze, Silver and Gold."""
