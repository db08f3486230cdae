"""Settings: dataclasses for everything a user can set. Imports nothing heavy."""
