"""One file a dataset or log format: its reader and its map into the canonical labels."""
