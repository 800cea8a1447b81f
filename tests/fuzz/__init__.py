"""Bytes of strangers: what is fed (`targets.py`), where it begins (`seeds.py`), and the search for what breaks (`search.py`)."""
