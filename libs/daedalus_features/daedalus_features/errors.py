"""The one error of this package that is not about a parameter."""


class SchemaError(ValueError):
    """A state, history or genesis of another layout than this version's: refused, never guessed."""
