"""Numbers about detectors, generators and text. Judges nothing itself."""
