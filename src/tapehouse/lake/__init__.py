"""The lake: Delta tables on a folder or a bucket."""
