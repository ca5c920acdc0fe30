"""A page in one file: what it is made of, how it looks, and its figures."""
