//! Typed HTTP client of our own API, for the command line and for tests.
