"""daedalus_common holds the domain (markets, events, plans, tables) and the adapters that every service shares."""
