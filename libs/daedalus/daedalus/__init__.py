"""daedalus is the front door: the command line, and the supervisor that runs every service in embedded mode."""
