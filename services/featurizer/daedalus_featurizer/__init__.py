"""daedalus_featurizer turns a market's events into feature rows and bars, in atomic steps."""
