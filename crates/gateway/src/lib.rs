//! The way of a request: route by model id, stream bytes through, meter. Knows no database and no node.
