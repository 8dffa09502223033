"""The command `daedalus`."""
