"""Fingerprint matching on minutiae: cylinders, relaxation, alignment and the score that follows from them."""
