"""The subscription's limits, and how many calls an overloaded service gets at once: decisions without I/O."""
