"""The pool: assigns calls to workers, and decides whether a call may go."""
