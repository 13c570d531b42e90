//! What snug must not forget, in one SQLite database. The only crate that knows SQL.
//!
//! Owns the database file, its migrations, and one set of functions per group of tables. Holds no business rules.
