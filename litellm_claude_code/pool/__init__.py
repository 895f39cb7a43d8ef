"""The pool: assigns calls to workers, and checks limits before a call starts."""
