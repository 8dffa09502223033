"""What Daedalus costs and gives, measured on the machine it runs on: `python -m benchmarks --help`."""
