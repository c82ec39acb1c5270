"""All rows of the sources become those that are learned and those that are held out."""
