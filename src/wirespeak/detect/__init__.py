"""Every kind of detector, one file each."""
