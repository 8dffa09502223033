"""The embedded mode: everything that `daedalus up` needs to run a whole pipeline on one machine."""
