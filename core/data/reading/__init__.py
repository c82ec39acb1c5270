"""A name becomes raw rows: files, folders and hubs, in every format."""
