"""`python -m daedalus` is the command `daedalus`."""

from daedalus.cli.main import app

app(prog_name="daedalus")
