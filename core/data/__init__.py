"""From a data set to token ids with labels."""
