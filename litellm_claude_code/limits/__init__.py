"""The subscription's limits, and the concurrency limiter for an overloaded API. No I/O."""
