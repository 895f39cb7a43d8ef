"""Code that several test files share. Fixtures are in conftest.py; no test file imports from another."""
