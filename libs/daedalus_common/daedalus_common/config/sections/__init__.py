"""The sections of the configuration, one module each: frozen models that hold what the YAML says, with defaults."""
