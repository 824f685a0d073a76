"""Typing rhythm as a modality of Keyvigil, and a driver for the keyboard that it is taken from."""
