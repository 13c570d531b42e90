//! Model facts read from files: GGUF headers, file names. Parsers over bytes; knows no hardware.
