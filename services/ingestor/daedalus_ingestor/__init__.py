"""daedalus_ingestor watches exchanges, taps every update and publishes it to its market's stream."""
