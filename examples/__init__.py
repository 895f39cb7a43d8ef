"""Programs that use these packages. They run from a checkout, and are not installed."""
