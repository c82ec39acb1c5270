"""An adapter is carried away: merged, as GGUF, to a hub; each export proven."""
