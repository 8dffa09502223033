"""A look at a host before Daedalus runs on it: what is there, what of it will hurt, and the fix."""
