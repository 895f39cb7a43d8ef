"""DSPy's GEPA improves a program that routes support tickets. README.md says how to run it."""
