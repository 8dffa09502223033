"""Watches exchanges and publishes every update to its market's stream: `python -m daedalus_ingestor --config FILE`."""

import os
import sys

from daedalus_ingestor import lean_ccxt

if __name__ == "__main__":
    lean_ccxt.install()
    # Only now: it imports ccxt.
    from daedalus_ingestor.process import main

    sys.exit(main(sys.argv[1:], os.environ))
