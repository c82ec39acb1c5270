"""Changed copies of rows: slips, synonyms, other words, groups of people exchanged."""
