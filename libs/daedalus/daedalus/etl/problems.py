"""Why a run cannot begin or go on, told so that the reader can put it right."""


class EtlError(Exception):
    """The run failed; what it had finished is kept, and the same command goes on from there."""


class UsageError(EtlError):
    """The command or the configuration asks for what cannot be: the same command will not do better."""


class Occupied(UsageError):
    """Somebody else's parts lie where rows would go; nothing of the task was written."""
