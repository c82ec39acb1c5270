"""Every setting once, a file a group."""
