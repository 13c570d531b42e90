//! The official package for Python and the same cache.
