"""What `daedalus up` shows while it runs."""
